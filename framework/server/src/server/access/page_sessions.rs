//! Sessions of pages: a cookie that only the holder of a token can have, and that ends with the token.
//!
//! The cookie says until when it is valid, and is authenticated with the token as the key. So nothing is kept
//! of a session, a restart does not end it, and one whose token is not valid any more is that of nobody.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use framework_protocol::task::now_ms;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// What is authenticated beside the rest of the cookie, so that the same key can serve other purposes.
const PURPOSE: &str = "think page session 1 ";
/// Longer cookies are of no session.
const COOKIE_MAX: usize = 256;

/// The cookie of a session that is valid until then, in milliseconds since 1970; `None` if the system has no
/// random numbers.
pub(crate) fn seal(token: &str, until_ms: u64) -> Option<String> {
    let mut nonce = [0; 16];
    SystemRandom::new().fill(&mut nonce).ok()?;
    let content = format!("{until_ms:x}.{}", URL_SAFE_NO_PAD.encode(nonce));
    let tag = hmac::sign(&key(token.as_bytes()), message(&content).as_bytes());
    Some(format!("{content}.{}", URL_SAFE_NO_PAD.encode(tag)))
}

/// A cookie that has not expired, and is to be compared with tokens.
pub(crate) struct SealedSession {
    message: String,
    tag: Vec<u8>,
}

impl SealedSession {
    /// `None` for what is no cookie of a session, or has expired.
    pub(crate) fn parse(cookie: &str) -> Option<Self> {
        let (content, tag) = cookie.rsplit_once('.').filter(|_| cookie.len() <= COOKIE_MAX)?;
        let (until, _) = content.split_once('.')?;
        let until = u64::from_str_radix(until, 16).ok().filter(|until| *until > now_ms());
        let tag = URL_SAFE_NO_PAD.decode(tag).ok();
        until.and(tag).map(|tag| Self { message: message(content), tag })
    }

    /// Whether it was sealed with this token; takes the same time whether or not.
    pub(crate) fn is_of(&self, token: &[u8]) -> bool {
        hmac::verify(&key(token), self.message.as_bytes(), &self.tag).is_ok()
    }
}

/// What only pages know that were made for the holder of this secret: it stands in their forms.
pub(crate) fn form_key(secret: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&key(secret), b"think page form 1"))
}

fn message(content: &str) -> String {
    format!("{PURPOSE}{content}")
}

fn key(secret: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "first-0123456789";

    fn is_valid(cookie: &str, token: &str) -> bool {
        SealedSession::parse(cookie).is_some_and(|session| session.is_of(token.as_bytes()))
    }

    #[test]
    fn session_is_of_the_token_that_it_was_sealed_with() {
        let cookie = seal(TOKEN, now_ms() + 60_000).unwrap();
        assert!(is_valid(&cookie, TOKEN) && !is_valid(&cookie, "first-0123456780"));
        assert_ne!(cookie, seal(TOKEN, now_ms() + 60_000).unwrap(), "each is another");
        let (until, rest) = cookie.split_once('.').unwrap();
        let later = format!("{:x}.{rest}", u64::from_str_radix(until, 16).unwrap() + 1);
        for changed in [&later, &cookie[1..], &format!("{cookie}A"), "", "..", "1.2.3"] {
            assert!(!is_valid(changed, TOKEN), "{changed}");
        }
    }

    #[test]
    fn session_ends_with_its_time() {
        assert!(!is_valid(&seal(TOKEN, now_ms()).unwrap(), TOKEN));
    }
}
