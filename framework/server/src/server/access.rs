//! The rights of a client: scopes, tokens, the policy of the listener that it came through, and TLS.

mod auth_throttle;
pub(super) mod page_sessions;
pub(super) mod policy;
mod tls;
mod tokens;

use std::fmt;
use std::str::FromStr;

use framework_console::config::did_you_mean;
use framework_protocol::{ErrorCode, RequestError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub(super) use tokens::{TokenKey, Tokens, WorkBounds, check_list as check_tokens};

/// A right that a token grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To send tasks, and to receive their results on the connection or request that has sent them; also the
    /// counts of batches.
    Send,
    /// To see everything that the server knows, each task by its number included.
    Inspect,
    /// To run tasks as a worker: of any function that the worker registers, with their arguments.
    Work,
    /// To do everything: cancel, retry, forget, pause, stop.
    Admin,
}

/// The rights of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// No token was shown yet, and one is required.
    Unknown,
    /// The scopes of a token.
    Granted {
        send: bool,
        inspect: bool,
        work: bool,
        admin: bool,
        /// The token that has given the scopes; `None` where none is required.
        token: Option<TokenKey>,
    },
}

impl Access {
    /// Everything: where no token is required.
    pub(super) const ALL: Self =
        Self::Granted { send: true, inspect: true, work: true, admin: true, token: None };

    /// The rights of a token with these scopes.
    pub(super) fn of(scopes: &[Scope], token: Option<TokenKey>) -> Self {
        let has = |scope| scopes.contains(&scope);
        let (send, inspect) = (has(Scope::Send), has(Scope::Inspect));
        let (work, admin) = (has(Scope::Work), has(Scope::Admin));
        Self::Granted { send, inspect, work, admin, token }
    }

    /// The token that has given the rights, if one has.
    pub(super) fn token(self) -> Option<TokenKey> {
        match self {
            Self::Unknown => None,
            Self::Granted { token, .. } => token,
        }
    }

    /// The scopes, as they are reported to the client.
    pub(super) fn scopes(self) -> Vec<Scope> {
        let Self::Granted { send, inspect, work, admin, .. } = self else { return Vec::new() };
        let scopes =
            [(Scope::Send, send), (Scope::Inspect, inspect), (Scope::Work, work), (Scope::Admin, admin)];
        scopes.into_iter().filter(|(_, has)| *has).map(|(scope, _)| scope).collect()
    }

    /// True while a token is still required.
    pub(super) fn is_unknown(self) -> bool {
        self == Self::Unknown
    }

    /// The error for a client whose token is not valid any more.
    pub(super) fn revoked() -> RequestError {
        let message = "The token of this connection is not valid any more.";
        RequestError::new(ErrorCode::Unauthorized, message)
    }

    /// The error for a client that has not shown its token yet.
    pub(super) fn unauthorized() -> RequestError {
        RequestError::new(
            ErrorCode::Unauthorized,
            "Authentication required: send {\"command\":\"auth\",\"token\":\"..\"} first.",
        )
    }

    /// # Errors
    /// `unauthorized` before a token was shown, `forbidden` when it does not give this right.
    pub(super) fn check(self, needed: Scope) -> Result<(), RequestError> {
        let has = match (self, needed) {
            (Self::Unknown, _) => return Err(Self::unauthorized()),
            (Self::Granted { admin: true, .. }, _) => true,
            (Self::Granted { send, .. }, Scope::Send) => send,
            (Self::Granted { inspect, .. }, Scope::Inspect) => inspect,
            (Self::Granted { work, .. }, Scope::Work) => work,
            (Self::Granted { .. }, Scope::Admin) => false,
        };
        if has {
            return Ok(());
        }
        let message = format!("The token does not have the scope \"{needed}\", which this needs.");
        Err(RequestError::new(ErrorCode::Forbidden, message))
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        const ALL: [Scope; 4] = [Scope::Send, Scope::Inspect, Scope::Work, Scope::Admin];
        ALL.into_iter().find(|scope| scope.to_string() == name).ok_or_else(|| {
            match did_you_mean(name, ["send", "inspect", "work", "admin"]) {
                Some(near) => format!("\"{name}\" is no scope; did you mean \"{near}\"?"),
                None => format!("\"{name}\" is no scope; the scopes are: send, inspect, work, admin"),
            }
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::Send => "send",
            Self::Inspect => "inspect",
            Self::Work => "work",
            Self::Admin => "admin",
        })
    }
}
