//! What a client may do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::{Code, Refusal};

/// A right that a token gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To hand over tasks, and to hear what becomes of them.
    Send,
    /// To see all that the server knows.
    Inspect,
    /// To do everything: cancel, retry, forget, pause, ..
    Admin,
}

/// The rights of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nobody has said who it is, and somebody has to.
    Unknown,
    /// With these scopes.
    Granted { send: bool, inspect: bool, admin: bool },
}

impl Access {
    /// Everything: where nobody is asked who it is.
    pub(super) const ALL: Self = Self::Granted { send: true, inspect: true, admin: true };

    /// # Errors
    /// `unauthorized` before a token was shown, `forbidden` when it does not give this right.
    pub(super) fn check(self, needed: Scope) -> Result<(), Refusal> {
        let has = match (self, needed) {
            (Self::Unknown, _) => {
                return Err(Refusal::new(
                    Code::Unauthorized,
                    "This server wants to know who you are: send {\"command\":\"auth\",\"token\":\"..\"} first.",
                ));
            }
            (Self::Granted { admin: true, .. }, _) => true,
            (Self::Granted { send, .. }, Scope::Send) => send,
            (Self::Granted { inspect, .. }, Scope::Inspect) => inspect,
            (Self::Granted { .. }, Scope::Admin) => false,
        };
        match has {
            true => Ok(()),
            false => {
                let message = format!("The token does not have the scope \"{needed}\", which this needs.");
                Err(Refusal::new(Code::Forbidden, message))
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::Send => "send",
            Self::Inspect => "inspect",
            Self::Admin => "admin",
        })
    }
}
