//! The sessions of workers across their connections.

use framework_protocol::RequestError;
use ring::digest::{SHA256, digest};

use super::lease_name::LeaseName;
use crate::store::LeaseHolder;

/// The shortest and the longest secret of a session, in bytes.
const SECRET_MIN: usize = 16;
const SECRET_MAX: usize = 256;

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
        let digest = digest(&SHA256, secret.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&digest.as_ref()[..16]);
        Ok(Self(key))
    }
}
