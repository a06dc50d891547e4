//! Binds the listeners of the settings, each with its policy.

use std::sync::Arc;

use anyhow::{Context, Result};
use framework_console::config::Config;

use super::socket::ListenSocket;
use super::unix::TooLong;
use crate::server::access::policy::{Authenticator, ListenerPolicy};
use crate::server::metrics::Limits;
use crate::server::settings::{ListenerSettings, ServerSettings};
use crate::server::takeover::sockets::InheritedSockets;

/// The connections that the control socket accepts beyond `max_connection`, so that a full server can be
/// controlled.
const RESERVE: usize = 16;

/// A bound socket and its policy.
pub(crate) struct BoundListener {
    pub(crate) socket: Arc<ListenSocket>,
    pub(crate) policy: Arc<ListenerPolicy>,
    /// It is the control socket.
    pub(crate) is_control: bool,
}

/// Binds the first listener, the further ones and the control socket, in this order; sockets in `inherited`
/// are used where they fit.
///
/// # Errors
/// A socket, certificate or token cannot be used, or an inherited socket fits no listener.
pub(crate) async fn open(
    settings: ServerSettings,
    config: Config,
    limits: Arc<Limits>,
    mut inherited: InheritedSockets,
) -> Result<Vec<BoundListener>> {
    let authenticator = Authenticator::open(&settings, &config, limits)?;
    let mut bound = Vec::new();
    for listener in std::iter::once(&settings.first_listener()).chain(&settings.listeners) {
        let socket = ListenSocket::bind(listener, &settings, &config, &mut inherited).await?;
        let authenticator = authenticator.clone().filter(|_| settings.wants_token(listener));
        let policy = policy(&socket, listener, &config, authenticator)?;
        bound.push(BoundListener { socket: Arc::new(socket), policy: Arc::new(policy), is_control: false });
    }
    if let Some(listener) = settings.control_listener() {
        match ListenSocket::bind(&listener, &settings, &config, &mut inherited).await {
            Ok(socket) => {
                let mut policy = policy(&socket, &listener, &config, None)?;
                policy.reserve = RESERVE;
                let policy = Arc::new(policy);
                bound.push(BoundListener { socket: Arc::new(socket), policy, is_control: true });
            }
            // In a deeply nested project; the socket is a default that nobody asked for.
            Err(error) if error.is::<TooLong>() => tracing::warn!("no control_socket: {error}"),
            Err(error) => return Err(error.context("control_socket in config/server.toml")),
        }
    }
    inherited.close()?;
    Ok(bound)
}

/// Checks that tokens and certificates can be used, without binding anything.
///
/// # Errors
/// The first one that cannot be used, with the reason.
pub(crate) fn check(settings: &ServerSettings, config: &Config) -> Result<()> {
    let authenticator = Authenticator::open(settings, config, Arc::default())?;
    for listener in std::iter::once(&settings.first_listener()).chain(&settings.listeners) {
        let address = listener.place().to_string();
        ListenerPolicy::new(address.clone(), listener, config, authenticator.clone())
            .with_context(|| format!("listening on {address}"))?;
    }
    Ok(())
}

fn policy(
    socket: &ListenSocket,
    listener: &ListenerSettings,
    config: &Config,
    authenticator: Option<Arc<Authenticator>>,
) -> Result<ListenerPolicy> {
    let address = socket.address()?;
    ListenerPolicy::new(address.clone(), listener, config, authenticator)
        .with_context(|| format!("listening on {address}"))
}
