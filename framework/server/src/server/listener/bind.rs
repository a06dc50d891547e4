//! Where clients come in: the sockets of the settings, each with its door.

use std::sync::Arc;

use anyhow::{Context, Result};
use framework_console::config::Config;

use super::socket::Socket;
use super::unix::TooLong;
use crate::server::inherited_sockets::InheritedSockets;
use crate::server::policy::{Authenticator, ListenerPolicy};
use crate::server::settings::{ListenerSettings, ServerSettings};
use crate::server::status::Limits;

/// How many connections the control socket takes when the house is full: whoever is to help must get in.
const RESERVE: usize = 16;

/// A socket, and the rules that hold there.
pub(crate) struct BoundListener {
    pub(crate) socket: Arc<Socket>,
    pub(crate) policy: Arc<ListenerPolicy>,
}

/// Opens the first listener, the further ones and the control socket, in this order; `given` is what listens already.
///
/// # Errors
/// Those of the sockets, and of their certificates and tokens.
pub(crate) async fn open(
    settings: ServerSettings,
    config: Config,
    limits: Arc<Limits>,
    mut given: InheritedSockets,
) -> Result<Vec<BoundListener>> {
    let guard = Authenticator::open(&settings, &config, limits)?;
    let mut bound = Vec::new();
    for listener in std::iter::once(&settings.first_listener()).chain(&settings.listeners) {
        let socket = Socket::bind(listener, &settings, &config, &mut given).await?;
        let guard = guard.clone().filter(|_| settings.wants_token(listener));
        let policy = policy(&socket, listener, &config, guard)?;
        bound.push(BoundListener { socket: Arc::new(socket), policy: Arc::new(policy) });
    }
    if let Some(listener) = settings.control_listener() {
        match Socket::bind(&listener, &settings, &config, &mut given).await {
            Ok(socket) => {
                let mut policy = policy(&socket, &listener, &config, None)?;
                policy.reserve = RESERVE;
                bound.push(BoundListener { socket: Arc::new(socket), policy: Arc::new(policy) });
            }
            // Of a project deep down; nobody asked for this socket.
            Err(error) if error.is::<TooLong>() => tracing::warn!("no control_socket: {error}"),
            Err(error) => return Err(error.context("control_socket in config/server.toml")),
        }
    }
    given.close()?;
    Ok(bound)
}

/// Whether tokens and certificates can be used, without listening.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn check(settings: &ServerSettings, config: &Config) -> Result<()> {
    let guard = Authenticator::open(settings, config, Arc::default())?;
    for listener in std::iter::once(&settings.first_listener()).chain(&settings.listeners) {
        let address = listener.place().to_string();
        ListenerPolicy::new(address.clone(), listener, config, guard.clone())
            .with_context(|| format!("listening on {address}"))?;
    }
    Ok(())
}

fn policy(
    socket: &Socket,
    listener: &ListenerSettings,
    config: &Config,
    guard: Option<Arc<Authenticator>>,
) -> Result<ListenerPolicy> {
    let address = socket.address()?;
    ListenerPolicy::new(address.clone(), listener, config, guard)
        .with_context(|| format!("listening on {address}"))
}
