//! Delays the replies to wrong tokens, longer with each from the same network.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::server::peer::Peer;

/// The delay after the first wrong token; it doubles with each further one.
pub(super) const FIRST: Duration = Duration::from_millis(200);
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(5);
/// The time without a failure after which a network starts again at [`FIRST`].
const FORGOTTEN: Duration = Duration::from_secs(10 * 60);
/// The number of networks remembered; beyond it, those that failed longest ago are forgotten.
const REMEMBERED: usize = 10_000;

/// The networks that wrong tokens came from lately, with their failures.
#[derive(Default)]
pub(super) struct AuthThrottle(Mutex<HashMap<Option<IpAddr>, Failures>>);

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl AuthThrottle {
    /// Counts a failure of `peer` and returns the delay of its reply.
    pub(super) fn failed(&self, peer: &Peer) -> Duration {
        let now = Instant::now();
        let mut known = self.0.lock().expect("no panic while the failures are locked");
        let network = network(peer);
        if known.len() >= REMEMBERED && !known.contains_key(&network) {
            make_room(&mut known, now);
        }
        let failures = known.entry(network).or_insert(Failures { count: 0, last: now });
        if now - failures.last > FORGOTTEN {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        FIRST.saturating_mul(1 << (failures.count - 1).min(16)).min(LONGEST)
    }
}

/// Forgets the half of the networks that failed longest ago; half, so that it is needed rarely.
fn make_room(known: &mut HashMap<Option<IpAddr>, Failures>, now: Instant) {
    let mut times: Vec<_> = known.values().map(|failures| failures.last).collect();
    let middle = times.len() / 2;
    let limit = times.select_nth_unstable(middle).1.to_owned();
    known.retain(|_, failures| failures.last > limit && now - failures.last <= FORGOTTEN);
}

/// The network that failures are counted for: an IPv4 address, or the first 64 bits of an IPv6 address,
/// because the owner of one such address usually has all 2^64 of its network.
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
    fn failure_doubles_the_delay_of_its_own_network_only() {
        let throttle = AuthThrottle::default();
        let delays: Vec<_> = (0..7).map(|_| throttle.failed(&peer("192.0.2.1")).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(throttle.failed(&peer("192.0.2.2")), FIRST);
        assert_eq!(throttle.failed(&peer("::ffff:192.0.2.2")), 2 * FIRST);
        assert_eq!(throttle.failed(&peer("2001:db8::1")), FIRST);
        assert_eq!(throttle.failed(&peer("2001:db8::2")), 2 * FIRST);
        assert_eq!(throttle.failed(&peer("2001:db8:0:1::2")), FIRST);
    }

    #[test]
    fn throttle_remembers_a_bounded_number_of_networks() {
        let throttle = AuthThrottle::default();
        for number in 0..3 * REMEMBERED as u32 {
            throttle.failed(&Peer::Tcp((IpAddr::from(number.to_be_bytes()), 1).into()));
        }
        assert!(throttle.0.lock().unwrap().len() <= REMEMBERED);
    }
}
