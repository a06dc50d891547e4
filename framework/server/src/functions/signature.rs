//! Signatures of requests by the rules of Standard Webhooks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{HMAC_SHA256, Key, sign};

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// The length of the key, in bytes.
const KEY_MIN: usize = 24;
const KEY_MAX: usize = 64;

/// The key that requests are signed with.
pub(super) struct SigningKey(Key);

impl SigningKey {
    /// The key in a secret: base64, with or without `whsec_` before it.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the name of the function.
    pub(super) fn parse(secret: &str) -> Result<Self, String> {
        let key = STANDARD.decode(secret.strip_prefix(PREFIX).unwrap_or(secret)).ok();
        let key = key.filter(|key| (KEY_MIN..=KEY_MAX).contains(&key.len()));
        key.map(|key| Self(Key::new(HMAC_SHA256, &key))).ok_or_else(|| {
            format!(
                "must have a `secret` of {KEY_MIN} to {KEY_MAX} bytes in base64, such as the output of \
                 `openssl rand -base64 32`, with or without \"{PREFIX}\" before it"
            )
        })
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let content = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        format!("v1,{}", STANDARD.encode(sign(&self.0, &content)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_is_that_of_the_published_example() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn signing_key_has_a_least_length() {
        for secret in ["", "whsec_", "c2hvcnQ=", "not base64 at all, but long enough to be a key"] {
            assert!(SigningKey::parse(secret).is_err(), "{secret}");
        }
    }
}
