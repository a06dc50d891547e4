//! The sessions of workers across their connections.

use framework_protocol::RequestError;
use ring::digest::{SHA256, digest};

use super::lease_name::LeaseName;
use crate::store::LeaseHolder;

/// The shortest and the longest secret of a session, in bytes.
const SECRET_MIN: usize = 16;
const SECRET_MAX: usize = 256;
/// The bit of a key that says that its session has no connection.
const POLL: u8 = 1;

/// Names the session of a worker across its connections: the digest of a secret that the worker has chosen,
/// so that nobody else can take its leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey(pub(crate) [u8; 16]);

impl SessionKey {
    /// The holder of a lease of this session.
    pub(super) fn holder(self, name: LeaseName) -> LeaseHolder {
        LeaseHolder { session: self.0, epoch: name.epoch, token: name.token }
    }

    /// # Errors
    /// The secret is too short to be one, or too long.
    pub(crate) fn of(secret: &str) -> Result<Self, RequestError> {
        if !(SECRET_MIN..=SECRET_MAX).contains(&secret.len()) {
            let message = format!(
                "\"session\" must be a secret of {SECRET_MIN} to {SECRET_MAX} bytes that the worker has drawn at random."
            );
            return Err(RequestError::bad_request(message));
        }
        let mut key = Self::digest(secret);
        key.0[0] &= !POLL;
        Ok(key)
    }

    /// The session of one request over HTTP, whose secret the server has drawn.
    pub(super) fn of_poll(secret: &str) -> Self {
        let mut key = Self::digest(secret);
        key.0[0] |= POLL;
        key
    }

    /// Whether it is the session of a request over HTTP, also of one to an earlier process.
    pub(super) fn is_poll(self) -> bool {
        self.0[0] & POLL != 0
    }

    fn digest(secret: &str) -> Self {
        let digest = digest(&SHA256, secret.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest.as_ref()[..16]);
        Self(key)
    }
}
