//! Limits the number of connections, in total and per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use framework_protocol::{ErrorCode, ReplyWriter, RequestError};
use futures_util::FutureExt;
use tokio::io::AsyncWriteExt;

use crate::server::access::policy::ListenerPolicy;
use crate::server::connections::{ConnectionRecord, ConnectionRegistry};
use crate::server::context::SessionContext;
use crate::server::metrics::{ConnectionCounts, Limit, Limits};
use crate::server::peer::Peer;
use crate::server::stream::Stream;

/// Counts the connections of all listeners and rejects those over a limit.
pub(super) struct ConnectionLimiter {
    max_connection: usize,
    max_connection_per_address: usize,
    limits: Arc<Limits>,
    counts: Arc<ConnectionCounts>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    connections: Arc<ConnectionRegistry>,
}

/// The right of one connection to exist; its place is free again when this is dropped.
pub(super) struct ConnectionPermit {
    pub(super) record: Arc<ConnectionRecord>,
    counts: Arc<ConnectionCounts>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    connections: Arc<ConnectionRegistry>,
}

impl ConnectionLimiter {
    pub(super) fn new(context: &SessionContext) -> Self {
        Self {
            max_connection: context.limits.max_connection,
            max_connection_per_address: context.limits.max_connection_per_address,
            limits: context.metrics.limits.clone(),
            counts: context.metrics.connections.clone(),
            by_address: Arc::default(),
            connections: context.metrics.registry.clone(),
        }
    }

    /// Registers a connection, or rejects it with the reason.
    pub(super) fn acquire(
        &self,
        stream: Stream,
        peer: Peer,
        policy: &ListenerPolicy,
    ) -> Option<(ConnectionPermit, Stream)> {
        if let Err((limit, error)) = self.check(peer, policy) {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            self.limits.hit(limit);
            reject(stream, &error);
            return None;
        }
        let number = self.counts.total.fetch_add(1, Ordering::Relaxed) + 1;
        let record = self.connections.insert(number, peer, stream.traffic().clone());
        let (counts, by_address) = (self.counts.clone(), self.by_address.clone());
        Some((ConnectionPermit { record, counts, by_address, connections: self.connections.clone() }, stream))
    }

    fn check(&self, peer: Peer, policy: &ListenerPolicy) -> Result<(), (Limit, RequestError)> {
        // Held over both counts, so that two listeners do not grant the last place twice.
        let mut by_address = self.by_address.lock().expect("no panic while the addresses are locked");
        let limit = self.max_connection + policy.reserve;
        if self.counts.current.load(Ordering::Relaxed) >= limit {
            return Err((Limit::MaxConnection, too_many("max_connection", self.max_connection)));
        }
        if let Some(address) = peer.ip() {
            let limit = self.max_connection_per_address;
            let count = by_address.entry(address).or_default();
            if *count >= limit {
                let name = "max_connection_per_address";
                return Err((Limit::MaxConnectionPerAddress, too_many(name, limit)));
            }
            *count += 1;
        }
        self.counts.current.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.connections.remove(self.record.number);
        self.counts.current.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.record.peer.ip() else { return };
        let mut by_address = self.by_address.lock().expect("no panic while the addresses are locked");
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

fn too_many(name: &str, limit: usize) -> RequestError {
    let message = format!("The server has reached its limit of {limit} connections ({name}).");
    RequestError { retry_after_ms: Some(1000), ..RequestError::new(ErrorCode::TooManyConnections, message) }
}

/// Sends the error as far as the socket accepts it without waiting, and closes the connection.
fn reject(mut stream: Stream, error: &RequestError) {
    let mut line = Vec::new();
    ReplyWriter::new(&mut line).refused(None, error);
    if let Some(Err(error)) = stream.write_all(&line).now_or_never() {
        tracing::debug!("rejecting a connection: {error}");
    }
}
