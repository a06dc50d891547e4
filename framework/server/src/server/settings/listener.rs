//! The settings of a listener: its address, protocols, TLS, and whether it requires a token.

use std::fmt;
use std::path::{Path, PathBuf};

use framework_console::config::Validator;
use framework_protocol::ReplyMode;
use framework_protocol::views::{Auth, Protocol};
use serde::{Deserialize, Serialize};

use super::ServerSettings;

/// The prefix of `host` for a Unix socket.
const UNIX: &str = "unix:";
/// More listeners than this are a mistake.
const LISTENERS_MAX: usize = 64;

/// The settings of one listener. A key that a `[[listeners]]` table omits has its default, not the first
/// listener's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerSettings {
    /// A host name or an IP address, or `unix:` and a path relative to the project's root.
    pub host: String,
    /// The TCP port, 0 for a free one; none for a Unix socket.
    pub port: Option<u16>,
    /// The accepted protocols; the first bytes of a connection select one.
    pub protocols: Vec<Protocol>,
    /// The reply mode of requests that name none.
    pub reply: ReplyMode,
    /// Every connection begins with a header of the PROXY protocol, which names its client.
    pub proxy_protocol: bool,
    /// Permits an address that other machines reach although no token is required.
    pub insecure: bool,
    /// `token`: clients must send a token; by default required over TCP as soon as there are tokens.
    pub auth: Option<Auth>,
    /// The certificate chain (PEM), relative to the project's root; enables TLS beside plain text.
    pub ssl_cert_file: Option<PathBuf>,
    /// The private key of the certificate (PEM).
    pub ssl_key_file: Option<PathBuf>,
    /// The authorities (PEM) of client certificates; set, only TLS with such a certificate is accepted.
    pub ssl_client_cert_file: Option<PathBuf>,
    /// Rejects plain-text connections.
    pub ssl_required: bool,
}

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenPlace<'a> {
    Tcp(&'a str, u16),
    /// Relative to the project's root.
    Unix(&'a Path),
}

impl fmt::Display for ListenPlace<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "{UNIX}{}", path.display()),
        }
    }
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: None,
            protocols: Protocol::OWN.to_vec(),
            reply: ReplyMode::Ack,
            proxy_protocol: false,
            insecure: false,
            auth: None,
            ssl_cert_file: None,
            ssl_key_file: None,
            ssl_client_cert_file: None,
            ssl_required: false,
        }
    }
}

impl ListenerSettings {
    pub(crate) fn place(&self) -> ListenPlace<'_> {
        match self.host.strip_prefix(UNIX) {
            Some(path) => ListenPlace::Unix(Path::new(path)),
            None => ListenPlace::Tcp(&self.host, self.port.unwrap_or_default()),
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.place(), ListenPlace::Unix(_))
    }

    /// `true` if plain-text connections are rejected. Client certificates imply it: otherwise a client
    /// without one could connect in plain text.
    pub fn speaks_tls_only(&self) -> bool {
        self.ssl_required || self.ssl_client_cert_file.is_some()
    }

    /// The protocol of another system that it speaks, if it does.
    pub(crate) fn foreign(&self) -> Option<Protocol> {
        self.protocols.iter().copied().find(|protocol| protocol.is_foreign())
    }

    /// The first problem: the key, and the rest of the sentence.
    fn problem(&self) -> Option<(&'static str, &'static str)> {
        let is_unix = self.is_unix();
        let has = |file: &Option<PathBuf>| file.is_some();
        Some(match () {
            () if self.host.is_empty() => ("host", "must not be empty"),
            () if self.host == UNIX => ("host", "must have a path after \"unix:\""),
            () if is_unix && self.port.is_some() => ("port", "is not for a Unix socket: remove it"),
            () if !is_unix && self.port.is_none() => ("port", "is missing; 0 takes a free one"),
            () if self.protocols.is_empty() => {
                ("protocols", "must have at least one of lines, frames, http, websocket")
            }
            () if self.foreign().is_some() && self.protocols.len() > 1 => {
                ("protocols", "must have beanstalkd or faktory alone: give it a listener of its own")
            }
            () if has(&self.ssl_cert_file) && !has(&self.ssl_key_file) => {
                ("ssl_cert_file", "needs `ssl_key_file`")
            }
            () if has(&self.ssl_key_file) && !has(&self.ssl_cert_file) => {
                ("ssl_key_file", "needs `ssl_cert_file`")
            }
            () if has(&self.ssl_client_cert_file) && !has(&self.ssl_cert_file) => {
                ("ssl_client_cert_file", "needs `ssl_cert_file` and `ssl_key_file`")
            }
            () if self.foreign() == Some(Protocol::Faktory)
                && has(&self.ssl_cert_file)
                && !self.speaks_tls_only() =>
            {
                ("ssl_cert_file", "needs `ssl_required = true` with faktory, where the server speaks first")
            }
            () if self.ssl_required && !has(&self.ssl_cert_file) => {
                ("ssl_required", "needs `ssl_cert_file` and `ssl_key_file`")
            }
            () => return None,
        })
    }
}

impl ServerSettings {
    /// The listener of the section's own keys.
    pub fn first_listener(&self) -> ListenerSettings {
        let is_unix = self.host.starts_with(UNIX);
        ListenerSettings {
            host: self.host.clone(),
            port: (!is_unix).then_some(self.port),
            protocols: self.protocols.clone(),
            reply: self.reply,
            proxy_protocol: self.proxy_protocol,
            insecure: self.insecure,
            auth: self.auth,
            ssl_cert_file: self.ssl_cert_file.clone(),
            ssl_key_file: self.ssl_key_file.clone(),
            ssl_client_cert_file: self.ssl_client_cert_file.clone(),
            ssl_required: self.ssl_required,
        }
    }

    /// The Unix socket for the project's own commands, which grants full access; `None` if it is switched
    /// off.
    pub fn control_listener(&self) -> Option<ListenerSettings> {
        let path = self.control_socket.to_str().filter(|path| !path.is_empty())?;
        Some(ListenerSettings {
            host: format!("{UNIX}{path}"),
            protocols: vec![Protocol::Lines],
            auth: Some(Auth::None),
            ..ListenerSettings::default()
        })
    }

    /// `true` if the settings name any token.
    pub(crate) fn has_tokens(&self) -> bool {
        !self.tokens.is_empty() || self.tokens_file.is_some()
    }

    /// `true` if clients of this listener must send a token.
    pub fn wants_token(&self, listener: &ListenerSettings) -> bool {
        match listener.auth {
            Some(auth) => auth == Auth::Token,
            None => self.has_tokens() && !listener.is_unix(),
        }
    }

    /// The protocols of other systems that listeners speak, each once.
    pub(crate) fn foreign_protocols(&self) -> Vec<Protocol> {
        let first = self.first_listener();
        let all = std::iter::once(&first).chain(&self.listeners);
        let mut protocols: Vec<_> = all.filter_map(ListenerSettings::foreign).collect();
        protocols.sort_unstable_by_key(|protocol| protocol.name());
        protocols.dedup();
        protocols
    }

    pub(super) fn check_listeners(&self, checks: Validator) -> Validator {
        let first = self.first_listener();
        let has_tokens = self.has_tokens();
        let lacks_tokens = |listener: &ListenerSettings| {
            listener.foreign().is_some_and(|protocol| !protocol.has_tokens()) && self.wants_token(listener)
        };
        let needs_tokens = |listener: &ListenerSettings| listener.auth == Some(Auth::Token) && !has_tokens;
        let (key, sentence) = first.problem().unwrap_or(("host", ""));
        let mut checks = checks
            .that(key, first.problem().is_none(), || sentence.to_owned())
            .that("auth", !needs_tokens(&first), || NO_TOKENS.to_owned())
            .that("auth", !lacks_tokens(&first), || SHOWS_NO_TOKEN.to_owned())
            .that("listeners", self.listeners.len() <= LISTENERS_MAX, || {
                format!("may be at most {LISTENERS_MAX}, not {}", self.listeners.len())
            });
        for (index, listener) in self.listeners.iter().enumerate() {
            let number = index + 1;
            let problem = listener.problem();
            let (key, sentence) = problem.unwrap_or_default();
            checks = checks
                .that("listeners", problem.is_none(), || format!("number {number}: `{key}` {sentence}"))
                .that("listeners", !needs_tokens(listener), || format!("{NO_TOKENS} (number {number})"))
                .that("listeners", !lacks_tokens(listener), || {
                    format!("number {number}: `auth` {SHOWS_NO_TOKEN}")
                });
        }
        checks
    }
}

const SHOWS_NO_TOKEN: &str = "must be \"none\" for a listener of beanstalkd or faktory, whose clients show no token here: let only \
    those reach it who may do everything, or set `ssl_client_cert_file`";
const NO_TOKENS: &str =
    "wants `auth = \"token\"`, and there are none: set `tokens_file` or THINK_SERVER_TOKENS";
