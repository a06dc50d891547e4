//! The rules of one listener: its protocols, TLS, tokens and default reply.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use framework_console::config::Config;
use framework_protocol::views::{Auth, ListenAddress, Protocol};
use framework_protocol::{DetectedProtocol, ErrorCode, ReplyMode, RequestError};
use tokio::time::Instant;

use super::auth_throttle::{self, AuthThrottle, Turn};
use super::page_sessions::SealedSession;
use super::tls::Tls;
use crate::server::access::{Access, Tokens, WorkBounds};
use crate::server::metrics::{Limit, Limits};
use crate::server::peer::Peer;
use crate::server::settings::{ListenerSettings, ServerSettings};

/// The time between two looks at the file of tokens.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// More than the settings allow of child processes, with those that replace them.
const CHILDREN_MAX: usize = 10_000;

/// The rules of one listener.
pub(crate) struct ListenerPolicy {
    /// The address, as logs and the status show it.
    pub(crate) address: String,
    /// The reply mode of requests that name none.
    pub(crate) reply: ReplyMode,
    /// The number of connections accepted beyond `max_connection`.
    pub(crate) reserve: usize,
    /// Every connection begins with the header of a proxy.
    pub(crate) expects_proxy: bool,
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
        let file = settings.tokens_file.as_ref().map(|file| config.path(file));
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
            expects_proxy: listener.proxy_protocol,
            protocols: listener.protocols.clone(),
            tls: Tls::open(listener, config)?,
            is_tls_only: listener.speaks_tls_only(),
            authenticator,
        })
    }

    /// The policy of the connections to the server's own child processes: lines, with all rights.
    pub(crate) fn of_children() -> Self {
        Self {
            address: "a child process".to_owned(),
            reply: ReplyMode::Ack,
            reserve: CHILDREN_MAX,
            expects_proxy: false,
            protocols: vec![Protocol::Lines],
            tls: None,
            is_tls_only: false,
            authenticator: None,
        }
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

    /// True where plain-text connections are rejected.
    pub(crate) fn is_tls_only(&self) -> bool {
        self.is_tls_only
    }

    /// True if lines or frames are accepted, in plain text or on an encrypted connection.
    pub(crate) fn accepts_messages(&self, is_encrypted: bool) -> bool {
        [DetectedProtocol::Lines, DetectedProtocol::Frames]
            .iter()
            .any(|protocol| self.accepts(*protocol, is_encrypted))
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
        let turn = authenticator.throttle.reserve(peer, Instant::now());
        match turn {
            Turn::Now => {}
            Turn::At(time) => tokio::time::sleep_until(time).await,
            Turn::Refused(pause) => {
                authenticator.limits.hit(Limit::FailedAuth);
                return Err(too_many_failures(pause));
            }
        }
        if let Some(access) = authenticator.tokens.find(token) {
            return Ok(access);
        }
        authenticator.limits.hit(Limit::FailedAuth);
        let delay = authenticator.throttle.failed(peer, &turn, Instant::now());
        // One line per address: repeated guesses must not fill the log.
        if delay == auth_throttle::FIRST {
            tracing::warn!(%peer, "invalid token");
        } else {
            tracing::debug!(%peer, "invalid token, repeated");
        }
        tokio::time::sleep(delay).await;
        Err(RequestError::new(ErrorCode::Unauthorized, "This token is not valid."))
    }

    /// The access that `token` grants at once if it is the one that has granted `known`: a client that shows
    /// it with every request waits for nobody.
    ///
    /// # Errors
    /// As for [`ListenerPolicy::authenticate`].
    pub(crate) async fn authenticate_again(
        &self,
        peer: &Peer,
        token: &str,
        known: Access,
    ) -> Result<Access, RequestError> {
        let found = self.authenticator.as_ref().and_then(|authenticator| authenticator.tokens.find(token));
        match found {
            Some(access) if access == known => Ok(access),
            _ => self.authenticate(peer, token).await,
        }
    }

    /// The access of a session of a page, by its cookie; `None` when its time is over, its token is not valid
    /// any more, or no token is required.
    pub(crate) fn session(&self, cookie: &str) -> Option<Access> {
        let session = SealedSession::parse(cookie)?;
        self.authenticator.as_ref()?.tokens.of_session(&session)
    }

    /// The tasks that a client with this access may run as a worker.
    ///
    /// # Errors
    /// `unauthorized`: its token is not valid any more.
    pub(crate) fn work_bounds(&self, access: Access) -> Result<WorkBounds, RequestError> {
        match (&self.authenticator, access.token()) {
            (Some(authenticator), Some(token)) => {
                authenticator.tokens.bounds(token).ok_or_else(Access::revoked)
            }
            _ => Ok(WorkBounds::default()),
        }
    }

    /// Waits until the token that has given this access is not valid any more; for ever if none has.
    pub(crate) async fn revoked(&self, access: Access) {
        match (&self.authenticator, access.token()) {
            (Some(authenticator), Some(token)) => authenticator.tokens.revoked(token).await,
            _ => std::future::pending().await,
        }
    }

    /// Notices within half a second when tokens have changed, for those who wait in
    /// [`ListenerPolicy::revoked`]; never ends. `None` where no token is required.
    pub(crate) fn watch_tokens(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let authenticator = self.authenticator.clone()?;
        Some(async move {
            loop {
                tokio::time::sleep(WATCH_INTERVAL).await;
                authenticator.tokens.reload();
            }
        })
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

    /// The protocol of another system that the listener speaks alone, if it does.
    pub(crate) fn foreign(&self) -> Option<Protocol> {
        self.protocols.iter().copied().find(|protocol| protocol.is_foreign())
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

/// The error for an attempt that may not even wait for its turn.
fn too_many_failures(pause: Duration) -> RequestError {
    let message = "Too many wrong tokens came from this address: try again later.";
    let retry_after_ms = Some(pause.as_millis() as u64);
    RequestError { retry_after_ms, ..RequestError::new(ErrorCode::Unauthorized, message) }
}
