//! What one listener lets in, and how it answers.

mod auth_throttle;
mod tls;

use std::sync::Arc;

use anyhow::Result;
use framework_console::config::Config;
use framework_protocol::views::{Auth, ListenAddress, Protocol};
use framework_protocol::{DetectedProtocol, ErrorCode, ReplyMode, RequestError};

use self::auth_throttle::AuthThrottle;
pub(super) use self::tls::Tls;
use super::access::{Access, Tokens};
use super::peer::Peer;
use super::settings::{ListenerSettings, ServerSettings};
use super::status::{Limit, Limits};

/// The rules of one listener.
pub(super) struct ListenerPolicy {
    /// Where it listens, for people.
    pub(super) address: String,
    /// What a request gets that does not say.
    pub(super) reply: ReplyMode,
    /// How many connections it takes beyond `max_connection`.
    pub(super) reserve: usize,
    protocols: Vec<Protocol>,
    /// `None` where no TLS is spoken.
    tls: Option<Tls>,
    /// Whether nothing else is.
    is_tls_only: bool,
    /// Who asks for tokens; `None` where nobody does.
    guard: Option<Arc<Authenticator>>,
}

/// Knows the tokens, and who named wrong ones; one for all doors.
pub(super) struct Authenticator {
    tokens: Tokens,
    attempts: AuthThrottle,
    limits: Arc<Limits>,
}

impl Authenticator {
    /// `None` when there are no tokens.
    ///
    /// # Errors
    /// When a token is malformed, or `tokens_file` cannot be read or can be read by others.
    pub(super) fn open(
        settings: &ServerSettings,
        config: &Config,
        limits: Arc<Limits>,
    ) -> Result<Option<Arc<Self>>> {
        if !settings.has_tokens() {
            return Ok(None);
        }
        let file = settings.tokens_file.as_ref().map(|file| config.root().join(file));
        let tokens = Tokens::open(settings.tokens.reveal(), file)?;
        Ok(Some(Arc::new(Self { tokens, attempts: AuthThrottle::default(), limits })))
    }
}

impl ListenerPolicy {
    /// The door of a listener that was found at this address.
    ///
    /// # Errors
    /// When the certificate or its key cannot be used.
    pub(super) fn new(
        address: String,
        listener: &ListenerSettings,
        config: &Config,
        guard: Option<Arc<Authenticator>>,
    ) -> Result<Self> {
        Ok(Self {
            address,
            reply: listener.reply,
            reserve: 0,
            protocols: listener.protocols.clone(),
            tls: Tls::open(listener, config)?,
            is_tls_only: listener.speaks_tls_only(),
            guard,
        })
    }

    /// What the status says of it.
    pub(super) fn describe(&self) -> ListenAddress {
        ListenAddress {
            address: self.address.clone(),
            protocols: self.protocols.clone(),
            tls: self.tls.is_some(),
            tls_only: self.is_tls_only,
            auth: if self.guard.is_some() { Auth::Token } else { Auth::None },
        }
    }

    /// Looks now whether tokens or certificates have changed.
    pub(super) fn reload(&self) {
        if let Some(guard) = &self.guard {
            guard.tokens.reread();
        }
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }

    /// How a TLS client is greeted, if one is at all.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// What a client may do before it has shown a token.
    pub(super) fn access(&self) -> Access {
        match self.guard {
            Some(_) => Access::Unknown,
            None => Access::ALL,
        }
    }

    /// What a client may do who names this token. Where nobody is asked for one, any will do.
    ///
    /// The answer to a wrong one takes its time, longer with each from the same address.
    ///
    /// # Errors
    /// `unauthorized`: the token is not one of them.
    pub(super) async fn authenticate(&self, peer: &Peer, token: &str) -> Result<Access, RequestError> {
        let Some(guard) = &self.guard else { return Ok(Access::ALL) };
        if let Some(access) = guard.tokens.find(token) {
            return Ok(access);
        }
        guard.limits.hit(Limit::FailedAuth);
        let delay = guard.attempts.failed(peer);
        // Whoever goes on guessing is not to fill the log.
        match delay == auth_throttle::FIRST {
            true => tracing::warn!("a wrong token from {peer}"),
            false => tracing::debug!("one more wrong token from {peer}"),
        }
        tokio::time::sleep(delay).await;
        Err(RequestError::new(ErrorCode::Unauthorized, "This token is not valid here (any more)."))
    }

    /// Whether it speaks what the first bytes announce, of the connection or of what is encrypted on it.
    pub(super) fn accepts(&self, opening: DetectedProtocol, is_encrypted: bool) -> bool {
        let is_fit = is_encrypted || !self.is_tls_only;
        match opening {
            DetectedProtocol::Lines => is_fit && self.allows(Protocol::Lines),
            DetectedProtocol::Frames => is_fit && self.allows(Protocol::Frames),
            DetectedProtocol::Http => {
                is_fit && (self.allows(Protocol::Http) || self.allows(Protocol::Websocket))
            }
            DetectedProtocol::Tls => !is_encrypted && self.tls.is_some(),
        }
    }

    /// Whether this protocol is among those of the listener.
    pub(super) fn allows(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
    }

    /// What a client hears that begins with something else.
    pub(super) fn rejection(&self, opening: DetectedProtocol, is_encrypted: bool) -> RequestError {
        let announced = match opening {
            DetectedProtocol::Tls => "TLS",
            DetectedProtocol::Http => "HTTP",
            DetectedProtocol::Frames => "frames",
            DetectedProtocol::Lines => "lines",
        };
        let spoken: Vec<_> = self.protocols.iter().map(|protocol| protocol.name()).collect();
        let within = if self.is_tls_only && !is_encrypted { "TLS, and within it: " } else { "" };
        RequestError::new(
            ErrorCode::UnknownProtocol,
            format!("{} does not speak {announced} here, but {within}{}.", self.address, spoken.join(", ")),
        )
    }
}
