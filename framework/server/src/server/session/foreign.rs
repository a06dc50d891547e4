//! Protocols of other systems: each serves the connections of listeners of its own, and makes, takes and ends
//! tasks through the one service.
//!
//! A crate implements [`ForeignProtocol`] and submits it as a [`ForeignEntry`]. It is handed a connection
//! that is accepted and within all limits, and sees no socket.

mod connection;
mod tasks;

use std::io;

use anyhow::{Context, Result};
use framework_protocol::RequestError;
use framework_protocol::task::Registration;
use framework_protocol::views::Protocol;
use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

pub use self::connection::{ForeignConnection, Input};
pub use self::tasks::{ForeignTasks, Waited};
use super::state::Session;
use super::tls;
use crate::server::metrics::Limit;
use crate::server::poll::raised;
use crate::server::settings::ServerSettings;
use crate::server::stream::Stream;

/// The first byte of a TLS connection.
const TLS: u8 = 0x16;

/// A protocol of another system, which listeners speak that name it alone.
pub trait ForeignProtocol: Sync {
    /// The name of the protocol in the settings.
    fn protocol(&self) -> Protocol;

    /// The function whose tasks are those of this protocol. It is known while a listener speaks it.
    fn function(&self) -> Registration;

    /// What a client is sent that is not served.
    fn rejection(&self, error: &RequestError) -> Vec<u8>;

    /// Serves a connection until it ends. What it holds goes back then.
    fn serve<'a>(&'a self, connection: ForeignConnection<'a>) -> BoxFuture<'a, io::Result<()>>;
}

/// A registered protocol of another system.
pub struct ForeignEntry(pub &'static dyn ForeignProtocol);

inventory::collect!(ForeignEntry);

/// The implementation of a protocol; `None` if this program does not contain it.
pub fn foreign_protocol(protocol: Protocol) -> Option<&'static dyn ForeignProtocol> {
    inventory::iter::<ForeignEntry>
        .into_iter()
        .map(|entry| entry.0)
        .find(|known| known.protocol() == protocol)
}

/// The functions of the protocols of other systems that listeners speak.
///
/// # Errors
/// This program does not contain one of the protocols.
pub(in crate::server) fn functions(settings: &ServerSettings) -> Result<Vec<Registration>> {
    let function = |protocol: Protocol| {
        let name = protocol.name();
        let known = foreign_protocol(protocol).with_context(|| {
            format!("protocols: this program was built without \"{name}\", a feature of the framework")
        });
        known.map(ForeignProtocol::function)
    };
    settings.foreign_protocols().into_iter().map(function).collect()
}

/// Serves a connection of a listener that speaks this protocol.
pub(super) async fn serve(session: &mut Session, mut stream: Stream, protocol: Protocol) -> io::Result<()> {
    if session.policy.tls().is_some() {
        let Some(first) = first_byte(session, &mut stream).await? else { return Ok(()) };
        if first == TLS {
            let Some(encrypted) = tls::upgrade(session, stream.again(vec![first].into())).await? else {
                return Ok(());
            };
            stream = encrypted;
        } else if session.policy.is_tls_only() {
            return Ok(());
        } else {
            stream = stream.again(vec![first].into());
        }
    }
    session.record.speaks(protocol);
    let Some(protocol) = foreign_protocol(protocol) else { return Ok(()) };
    protocol.serve(ForeignConnection::new(session, stream, protocol)).await
}

/// The first byte that a client sends, within `auth_timeout`; `None` if none comes.
async fn first_byte(session: &Session, stream: &mut Stream) -> io::Result<Option<u8>> {
    let mut stop = session.stop.clone();
    let mut first = [0];
    let read = tokio::select! {
        read = timeout(session.context.limits.auth_timeout, stream.read(&mut first)) => read,
        () = raised(&mut stop) => return Ok(None),
    };
    match read {
        Ok(read) => Ok((read? > 0).then_some(first[0])),
        Err(_) => {
            session.context.metrics.limits.hit(Limit::AuthTimeout);
            Ok(None)
        }
    }
}
