//! Who is in: what each connection speaks, what went over it, and what it still waits for.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use framework_protocol::views::{ConnectionInfo, Protocol};

use super::outbox::Outbox;
use super::peer::Peer;
use super::stream::Traffic;

/// All connections by their numbers.
#[derive(Default)]
pub(super) struct ConnectionRegistry(Mutex<BTreeMap<u64, Arc<ConnectionRecord>>>);

/// One connection that is in.
pub(super) struct ConnectionRecord {
    pub(super) number: u64,
    pub(super) peer: Peer,
    traffic: Arc<Traffic>,
    /// What it speaks, as [`noted`]; 0 at first.
    protocol: AtomicU8,
    is_encrypted: AtomicBool,
    /// Where its answers come from at the moment.
    outbox: Mutex<Weak<Outbox>>,
}

impl ConnectionRegistry {
    fn guests(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<ConnectionRecord>>> {
        self.0.lock().expect("no one panics while holding the guests")
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
        self.guests().insert(number, record.clone());
        record
    }

    pub(super) fn remove(&self, number: u64) {
        self.guests().remove(&number);
    }

    /// The oldest `limit` of the connections that came after the one of this number.
    pub(super) fn list(&self, after: u64, limit: usize) -> Vec<ConnectionInfo> {
        let after = (Bound::Excluded(after), Bound::Unbounded);
        let guests: Vec<_> =
            self.guests().range(after).take(limit).map(|(_, record)| record.clone()).collect();
        guests.iter().map(|record| record.tell()).collect()
    }
}

impl ConnectionRecord {
    /// It is known what is spoken, perhaps not for the first time.
    pub(super) fn speaks(&self, protocol: Protocol) {
        self.protocol.store(noted(protocol), Ordering::Relaxed);
    }

    fn protocol(&self) -> Option<Protocol> {
        let spoken = self.protocol.load(Ordering::Relaxed);
        Protocol::ALL.into_iter().find(|protocol| noted(*protocol) == spoken)
    }

    /// From now on nobody can read along.
    pub(super) fn encrypts(&self) {
        self.is_encrypted.store(true, Ordering::Relaxed);
    }

    /// From now on its answers come from here.
    pub(super) fn hears_from(&self, outbox: &Arc<Outbox>) {
        *self.outbox.lock().expect("no one panics while holding it") = Arc::downgrade(outbox);
    }

    fn tell(&self) -> ConnectionInfo {
        let outbox = self.outbox.lock().expect("no one panics while holding it").upgrade();
        let (held, in_flight) = outbox.map_or((0, 0), |outbox| outbox.load());
        let (bytes_in, bytes_out) = self.traffic.bytes();
        let (connected_ms, idle_ms) = self.traffic.ages_ms();
        ConnectionInfo {
            id: self.number,
            peer: self.peer.to_string(),
            protocol: self.protocol(),
            tls: self.is_encrypted.load(Ordering::Relaxed),
            bytes_in,
            bytes_out,
            queued: held + self.traffic.waiting(),
            in_flight,
            idle_ms,
            connected_ms,
        }
    }
}

fn noted(protocol: Protocol) -> u8 {
    protocol as u8 + 1
}
