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
use crate::server::session::foreign::foreign_protocol;
use crate::server::stream::Stream;

/// Counts the connections of all listeners and rejects those over a limit.
pub(super) struct ConnectionLimiter {
    max_connection: usize,
    max_connection_per_address: usize,
    limits: Arc<Limits>,
    counts: Arc<ConnectionCounts>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    connections: Arc<ConnectionRegistry>,
}

/// A place among all connections, for one whose client may not be known yet; free again when this is dropped.
pub(super) struct ConnectionPlace {
    limiter: Arc<ConnectionLimiter>,
}

/// The right of one connection to exist; its place is free again when this is dropped.
pub(super) struct ConnectionPermit {
    pub(super) record: Arc<ConnectionRecord>,
    place: ConnectionPlace,
}

impl ConnectionLimiter {
    pub(super) fn new(context: &SessionContext) -> Self {
        Self {
            max_connection: context.limits.max_connection,
            max_connection_per_address: context.limits.max_connection_per_address,
            limits: context.metrics.limits.clone(),
            counts: context.metrics.connections.clone(),
            by_address: Mutex::default(),
            connections: context.metrics.registry.clone(),
        }
    }

    /// Takes a place for a connection.
    ///
    /// # Errors
    /// When there is none left (`max_connection`).
    pub(super) fn take_place(
        self: &Arc<Self>,
        policy: &ListenerPolicy,
    ) -> Result<ConnectionPlace, RequestError> {
        let limit = self.max_connection + policy.reserve;
        let one_more = |count| (count < limit).then_some(count + 1);
        match self.counts.current.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) {
            Ok(_) => Ok(ConnectionPlace { limiter: self.clone() }),
            Err(_) => Err(self.refused(Limit::MaxConnection, "max_connection", self.max_connection)),
        }
    }

    /// Counts one more connection of an address.
    fn count_address(&self, address: IpAddr) -> Result<(), RequestError> {
        let mut by_address = self.by_address.lock().expect("no panic while the addresses are locked");
        let (count, limit) = (by_address.entry(address).or_default(), self.max_connection_per_address);
        if *count >= limit {
            let name = "max_connection_per_address";
            return Err(self.refused(Limit::MaxConnectionPerAddress, name, limit));
        }
        *count += 1;
        Ok(())
    }

    fn release_address(&self, address: IpAddr) {
        let mut by_address = self.by_address.lock().expect("no panic while the addresses are locked");
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }

    fn refused(&self, limit: Limit, name: &str, most: usize) -> RequestError {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.limits.hit(limit);
        too_many(name, most)
    }
}

impl ConnectionPlace {
    /// Registers the connection that takes this place.
    ///
    /// # Errors
    /// When its address has too many already (`max_connection_per_address`).
    pub(super) fn register(self, stream: &Stream, peer: Peer) -> Result<ConnectionPermit, RequestError> {
        let limiter = &self.limiter;
        if let Some(address) = peer.ip() {
            limiter.count_address(address)?;
        }
        let number = limiter.counts.total.fetch_add(1, Ordering::Relaxed) + 1;
        let record = limiter.connections.insert(number, peer, stream.traffic().clone());
        Ok(ConnectionPermit { record, place: self })
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.limiter.counts.current.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let limiter = &self.place.limiter;
        limiter.connections.remove(self.record.number);
        if let Some(address) = self.record.peer.ip() {
            limiter.release_address(address);
        }
    }
}

fn too_many(name: &str, limit: usize) -> RequestError {
    let message = format!("The server has reached its limit of {limit} connections ({name}).");
    RequestError { retry_after_ms: Some(1000), ..RequestError::new(ErrorCode::TooManyConnections, message) }
}

/// Sends the error as far as the socket accepts it without waiting, and closes the connection.
pub(super) fn reject(mut stream: Stream, policy: &ListenerPolicy, error: &RequestError) {
    let line = match policy.foreign().and_then(foreign_protocol) {
        Some(protocol) => protocol.rejection(error),
        None => {
            let mut line = Vec::new();
            ReplyWriter::new(&mut line).refused(None, error);
            line
        }
    };
    if let Some(Err(error)) = stream.write_all(&line).now_or_never() {
        tracing::debug!("rejecting a connection: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(max_connection_per_address: usize) -> Arc<ConnectionLimiter> {
        Arc::new(ConnectionLimiter {
            max_connection: 10,
            max_connection_per_address,
            limits: Arc::default(),
            counts: Arc::default(),
            by_address: Mutex::default(),
            connections: Arc::default(),
        })
    }

    #[test]
    fn limiter_refuses_one_connection_more_of_an_address_until_another_has_ended() {
        let limiter = limiter(2);
        let (first, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert!(limiter.count_address(first).is_ok() && limiter.count_address(first).is_ok());
        assert_eq!(limiter.count_address(first).unwrap_err().code, ErrorCode::TooManyConnections);
        assert!(limiter.count_address(other).is_ok());
        limiter.release_address(first);
        assert!(limiter.count_address(first).is_ok());
        limiter.release_address(other);
        assert!(!limiter.by_address.lock().unwrap().contains_key(&other), "it is forgotten");
    }

    #[test]
    fn place_of_a_connection_that_has_ended_is_free() {
        let limiter = limiter(2);
        limiter.counts.current.store(1, Ordering::Relaxed);
        drop(ConnectionPlace { limiter: limiter.clone() });
        assert_eq!(limiter.counts.current.load(Ordering::Relaxed), 0);
    }
}
