//! The open connections: the protocol, traffic and pending replies of each.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use framework_protocol::views::{ConnectionInfo, Protocol};

use super::outbox::Outbox;
use super::peer::Peer;
use super::stream::Traffic;

/// The open connections by number.
#[derive(Default)]
pub(super) struct ConnectionRegistry(Mutex<BTreeMap<u64, Arc<ConnectionRecord>>>);

/// One open connection.
pub(super) struct ConnectionRecord {
    pub(super) number: u64,
    pub(super) peer: Peer,
    traffic: Arc<Traffic>,
    /// The protocol as [`encode`] has it; 0 until it is detected.
    protocol: AtomicU8,
    is_encrypted: AtomicBool,
    /// The outbox that its replies come from at the moment.
    outbox: Mutex<Weak<Outbox>>,
}

impl ConnectionRegistry {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<ConnectionRecord>>> {
        self.0.lock().expect("no panic while the connections are locked")
    }

    pub(super) fn insert(&self, number: u64, peer: Peer, traffic: Arc<Traffic>) -> Arc<ConnectionRecord> {
        let record = Arc::new(ConnectionRecord {
            number,
            peer,
            traffic,
            protocol: AtomicU8::new(0),
            is_encrypted: AtomicBool::new(false),
            outbox: Mutex::default(),
        });
        self.all().insert(number, record.clone());
        record
    }

    pub(super) fn remove(&self, number: u64) {
        self.all().remove(&number);
    }

    /// The oldest `limit` of the connections with a number above `after`.
    pub(super) fn list(&self, after: u64, limit: usize) -> Vec<ConnectionInfo> {
        let after = (Bound::Excluded(after), Bound::Unbounded);
        let records: Vec<_> = self.all().range(after).take(limit).map(|(_, record)| record.clone()).collect();
        records.iter().map(|record| record.info()).collect()
    }
}

impl ConnectionRecord {
    /// Notes the protocol, which may change, as from HTTP to WebSocket.
    pub(super) fn speaks(&self, protocol: Protocol) {
        self.protocol.store(encode(protocol), Ordering::Relaxed);
    }

    fn protocol(&self) -> Option<Protocol> {
        let encoded = self.protocol.load(Ordering::Relaxed);
        Protocol::ALL.iter().copied().find(|&protocol| encode(protocol) == encoded)
    }

    /// Notes that the connection is encrypted.
    pub(super) fn encrypts(&self) {
        self.is_encrypted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.is_encrypted.load(Ordering::Relaxed)
    }

    /// Notes the outbox that its replies come from.
    pub(super) fn hears_from(&self, outbox: &Arc<Outbox>) {
        *self.outbox.lock().expect("no panic while the outbox is locked") = Arc::downgrade(outbox);
    }

    fn info(&self) -> ConnectionInfo {
        let outbox = self.outbox.lock().expect("no panic while the outbox is locked").upgrade();
        let (held, in_flight) = outbox.map_or((0, 0), |outbox| outbox.load());
        let (bytes_in, bytes_out) = self.traffic.bytes();
        let (connected_ms, idle_ms) = self.traffic.ages_ms();
        ConnectionInfo {
            id: self.number,
            peer: self.peer.to_string(),
            protocol: self.protocol(),
            tls: self.is_encrypted(),
            bytes_in,
            bytes_out,
            queued: held + self.traffic.waiting(),
            in_flight,
            idle_ms,
            connected_ms,
        }
    }
}

fn encode(protocol: Protocol) -> u8 {
    protocol as u8 + 1
}
