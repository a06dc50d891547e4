//! The rules of one listener: its protocols, TLS, tokens and default reply.

use std::sync::Arc;

use anyhow::Result;
use framework_console::config::Config;
use framework_protocol::views::{Auth, ListenAddress, Protocol};
use framework_protocol::{DetectedProtocol, ErrorCode, ReplyMode, RequestError};

use super::auth_throttle::{self, AuthThrottle};
use super::tls::Tls;
use crate::server::access::{Access, Tokens};
use crate::server::metrics::{Limit, Limits};
use crate::server::peer::Peer;
use crate::server::settings::{ListenerSettings, ServerSettings};

/// The rules of one listener.
pub(crate) struct ListenerPolicy {
    /// The address, as logs and the status show it.
    pub(crate) address: String,
    /// The reply mode of requests that name none.
    pub(crate) reply: ReplyMode,
    /// The number of connections accepted beyond `max_connection`.
    pub(crate) reserve: usize,
    protocols: Vec<Protocol>,
    /// `None`: the listener has no certificate.
    tls: Option<Tls>,
    /// Plain-text connections are rejected (`ssl_required`).
    is_tls_only: bool,
    /// `None`: the listener requires no token.
    authenticator: Option<Arc<Authenticator>>,
}

/// The valid tokens and the throttle of wrong ones; shared by all listeners.
pub(crate) struct Authenticator {
    tokens: Tokens,
    throttle: AuthThrottle,
    limits: Arc<Limits>,
}

impl Authenticator {
    /// Reads the tokens of the settings; `None` when there are none.
    ///
    /// # Errors
    /// A token is malformed, or `tokens_file` cannot be read or can be read by others.
    pub(crate) fn open(
        settings: &ServerSettings,
        config: &Config,
        limits: Arc<Limits>,
    ) -> Result<Option<Arc<Self>>> {
        if !settings.has_tokens() {
            return Ok(None);
        }
        let file = settings.tokens_file.as_ref().map(|file| config.root().join(file));
        let tokens = Tokens::open(settings.tokens.reveal(), file)?;
        Ok(Some(Arc::new(Self { tokens, throttle: AuthThrottle::default(), limits })))
    }
}

impl ListenerPolicy {
    /// The policy of the listener that was bound to `address`.
    ///
    /// # Errors
    /// The certificate or its key cannot be used.
    pub(crate) fn new(
        address: String,
        listener: &ListenerSettings,
        config: &Config,
        authenticator: Option<Arc<Authenticator>>,
    ) -> Result<Self> {
        Ok(Self {
            address,
            reply: listener.reply,
            reserve: 0,
            protocols: listener.protocols.clone(),
            tls: Tls::open(listener, config)?,
            is_tls_only: listener.speaks_tls_only(),
            authenticator,
        })
    }

    /// The listener as the status shows it.
    pub(crate) fn describe(&self) -> ListenAddress {
        ListenAddress {
            address: self.address.clone(),
            protocols: self.protocols.clone(),
            tls: self.tls.is_some(),
            tls_only: self.is_tls_only,
            auth: if self.authenticator.is_some() { Auth::Token } else { Auth::None },
        }
    }

    /// Reads tokens and certificates again if their files have changed.
    pub(crate) fn reload(&self) {
        if let Some(authenticator) = &self.authenticator {
            authenticator.tokens.reload();
        }
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }

    /// The TLS side of the listener, if it has a certificate.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The access of a client that has not sent a token.
    pub(crate) fn access(&self) -> Access {
        match self.authenticator {
            Some(_) => Access::Unknown,
            None => Access::ALL,
        }
    }

    /// The access that `token` grants; full access where no token is required.
    ///
    /// The reply to a wrong token is delayed, longer with each from the same address.
    ///
    /// # Errors
    /// `unauthorized`: the token is not valid.
    pub(crate) async fn authenticate(&self, peer: &Peer, token: &str) -> Result<Access, RequestError> {
        let Some(authenticator) = &self.authenticator else { return Ok(Access::ALL) };
        if let Some(access) = authenticator.tokens.find(token) {
            return Ok(access);
        }
        authenticator.limits.hit(Limit::FailedAuth);
        let delay = authenticator.throttle.failed(peer);
        // One line per address: repeated guesses must not fill the log.
        if delay == auth_throttle::FIRST {
            tracing::warn!(%peer, "invalid token");
        } else {
            tracing::debug!(%peer, "invalid token, repeated");
        }
        tokio::time::sleep(delay).await;
        Err(RequestError::new(ErrorCode::Unauthorized, "This token is not valid."))
    }

    /// `true` if the listener accepts the protocol that the first bytes announce, of the connection or of
    /// what is encrypted on it.
    pub(crate) fn accepts(&self, detected: DetectedProtocol, is_encrypted: bool) -> bool {
        let is_secure = is_encrypted || !self.is_tls_only;
        match detected {
            DetectedProtocol::Lines => is_secure && self.allows(Protocol::Lines),
            DetectedProtocol::Frames => is_secure && self.allows(Protocol::Frames),
            DetectedProtocol::Http => {
                is_secure && (self.allows(Protocol::Http) || self.allows(Protocol::Websocket))
            }
            DetectedProtocol::Tls => !is_encrypted && self.tls.is_some(),
        }
    }

    /// `true` if `protocol` is among the protocols of the listener.
    pub(crate) fn allows(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
    }

    /// The error for a connection that begins with another protocol.
    pub(crate) fn rejection(&self, detected: DetectedProtocol, is_encrypted: bool) -> RequestError {
        let announced = match detected {
            DetectedProtocol::Tls => "TLS",
            DetectedProtocol::Http => "HTTP",
            DetectedProtocol::Frames => "frames",
            DetectedProtocol::Lines => "lines",
        };
        let protocols: Vec<_> = self.protocols.iter().map(|protocol| protocol.name()).collect();
        let within = if self.is_tls_only && !is_encrypted { "TLS, and within it: " } else { "" };
        RequestError::new(
            ErrorCode::UnknownProtocol,
            format!(
                "{} does not speak {announced} here, but {within}{}.",
                self.address,
                protocols.join(", ")
            ),
        )
    }
}
