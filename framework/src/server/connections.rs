//! Who is in: what each connection speaks, what went over it, and what it still waits for.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use super::peer::Peer;
use super::settings::Protocol;
use super::stream::Traffic;

/// One connection, as `{"command":"connections"}` and `task:connections --json` tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionInfo {
    /// 1 for the first connection of this server, and rising.
    pub id: u64,
    /// `127.0.0.1:54321`, or `unix (process 123)`.
    pub peer: String,
    /// `null` until it has said something that tells.
    pub protocol: Option<Protocol>,
    /// Whether all of it is encrypted.
    pub tls: bool,
    /// What came from the socket, with the handshakes and heads of all that is spoken; encrypted where it is.
    pub bytes_in: u64,
    /// What went to the socket, counted in the same way.
    pub bytes_out: u64,
    /// Bytes of answers that wait because the client does not read, or because an earlier answer is still to come.
    pub queued: usize,
    /// Tasks whose ends it waits for, among them those that it watches.
    pub in_flight: usize,
    /// For how long no byte has come or gone.
    pub idle_ms: u64,
    /// How long it has been there.
    pub connected_ms: u64,
}

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
