//! What a client may do.

mod tokens;

use std::fmt;
use std::str::FromStr;

use framework_console::config::did_you_mean;
use framework_protocol::{ErrorCode, RequestError};
use serde::{Deserialize, Serialize};
pub(super) use tokens::{Tokens, check_list as check_tokens};

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

    /// What a token with these scopes may do.
    pub(super) fn of(scopes: &[Scope]) -> Self {
        let has = |scope| scopes.contains(&scope);
        Self::Granted { send: has(Scope::Send), inspect: has(Scope::Inspect), admin: has(Scope::Admin) }
    }

    /// The scopes, as a client is told them.
    pub(super) fn scopes(self) -> Vec<Scope> {
        let Self::Granted { send, inspect, admin } = self else { return Vec::new() };
        let scopes = [(Scope::Send, send), (Scope::Inspect, inspect), (Scope::Admin, admin)];
        scopes.into_iter().filter(|(_, has)| *has).map(|(scope, _)| scope).collect()
    }

    /// Whether nobody has said who it is, and somebody has to.
    pub(super) fn is_unknown(self) -> bool {
        self == Self::Unknown
    }

    /// # Errors
    /// `unauthorized` before a token was shown, `forbidden` when it does not give this right.
    pub(super) fn check(self, needed: Scope) -> Result<(), RequestError> {
        let has = match (self, needed) {
            (Self::Unknown, _) => {
                return Err(RequestError::new(
                    ErrorCode::Unauthorized,
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
                Err(RequestError::new(ErrorCode::Forbidden, message))
            }
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        const ALL: [Scope; 3] = [Scope::Send, Scope::Inspect, Scope::Admin];
        ALL.into_iter().find(|scope| scope.to_string() == name).ok_or_else(|| {
            match did_you_mean(name, ["send", "inspect", "admin"]) {
                Some(near) => format!("\"{name}\" is no scope; did you mean \"{near}\"?"),
                None => format!("\"{name}\" is no scope; the scopes are: send, inspect, admin"),
            }
        })
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
