//! Failed attempts to get in: each makes the next answer from there slower.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::server::peer::Peer;

/// How long the answer to the first wrong token takes; it doubles with each one.
pub(super) const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);
/// When an address is as good as new.
const FORGOTTEN: Duration = Duration::from_secs(10 * 60);
/// How many addresses are remembered; beyond, those that failed longest ago are forgotten.
const REMEMBERED: usize = 10_000;

/// The addresses that wrong tokens came from of late.
#[derive(Default)]
pub(super) struct AuthThrottle(Mutex<HashMap<Option<IpAddr>, Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl AuthThrottle {
    /// Notes one more, and tells how long its answer is to take.
    pub(super) fn failed(&self, peer: &Peer) -> Duration {
        let now = Instant::now();
        let mut known = self.0.lock().expect("no one panics while holding the attempts");
        let place = network(peer);
        if known.len() >= REMEMBERED && !known.contains_key(&place) {
            make_room(&mut known, now);
        }
        let failures = known.entry(place).or_insert(Failures { count: 0, last: now });
        if now - failures.last > FORGOTTEN {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        FIRST.saturating_mul(1 << (failures.count - 1).min(16)).min(LONGEST)
    }
}

/// Forgets the half of them that failed longest ago: so it has to be done rarely.
fn make_room(known: &mut HashMap<Option<IpAddr>, Failures>, now: Instant) {
    let mut times: Vec<_> = known.values().map(|failures| failures.last).collect();
    let middle = times.len() / 2;
    let limit = times.select_nth_unstable(middle).1.to_owned();
    known.retain(|_, failures| failures.last > limit && now - failures.last <= FORGOTTEN);
}

/// Who has one address of IPv6 has 2^64 of them.
fn network(peer: &Peer) -> Option<IpAddr> {
    match peer.ip()? {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Some(Ipv6Addr::from_bits(network).into())
        }
        address => Some(address.to_canonical()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Tcp(SocketAddr::new(address.parse().unwrap(), 1))
    }

    #[test]
    fn each_failure_doubles_the_delay_of_its_network_alone() {
        let attempts = AuthThrottle::default();
        let delays: Vec<_> = (0..7).map(|_| attempts.failed(&peer("192.0.2.1")).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(attempts.failed(&peer("192.0.2.2")), FIRST);
        assert_eq!(attempts.failed(&peer("::ffff:192.0.2.2")), 2 * FIRST);
        assert_eq!(attempts.failed(&peer("2001:db8::1")), FIRST);
        assert_eq!(attempts.failed(&peer("2001:db8::2")), 2 * FIRST);
        assert_eq!(attempts.failed(&peer("2001:db8:0:1::2")), FIRST);
    }

    #[test]
    fn only_so_many_addresses_are_remembered() {
        let attempts = AuthThrottle::default();
        for number in 0..3 * REMEMBERED as u32 {
            attempts.failed(&Peer::Tcp((IpAddr::from(number.to_be_bytes()), 1).into()));
        }
        assert!(attempts.0.lock().unwrap().len() <= REMEMBERED);
    }
}
