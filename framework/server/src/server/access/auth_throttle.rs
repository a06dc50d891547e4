//! Delays tokens from a network that has shown wrong ones, longer with each.
//!
//! The delay belongs to the network and not to the connection: whoever hangs up and connects again waits all
//! the same. A network gets one attempt per delay; each further one waits for its turn, or is refused when
//! too many wait already. A valid token waits as well, as else the speed of its reply would tell it from a
//! wrong one.

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
/// The longest time that an attempt waits for its turn; it is refused if that is not enough.
const WAIT_MAX: Duration = Duration::from_secs(6);
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
    /// The time from which the next attempt may be made.
    free_at: Instant,
}

/// The turn of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    /// At this time; the delay of its failure is charged already.
    At(Instant),
    /// Too many wait; another attempt makes sense after this time.
    Refused(Duration),
}

impl AuthThrottle {
    /// Reserves the next turn of the network of `peer`.
    pub(super) fn reserve(&self, peer: &Peer, now: Instant) -> Turn {
        let mut known = self.0.lock().expect("no panic while the failures are locked");
        if known.is_empty() {
            return Turn::Now;
        }
        let Some(failures) = known.get_mut(&network(peer)) else { return Turn::Now };
        let wait = failures.free_at.saturating_duration_since(now);
        if wait.is_zero() {
            return Turn::Now;
        }
        if wait > WAIT_MAX {
            return Turn::Refused(wait);
        }
        let turn = failures.free_at;
        failures.free_at += delay(failures.count + 1);
        Turn::At(turn)
    }

    /// Counts a failure of `peer` in this turn, and returns the delay of its reply.
    pub(super) fn failed(&self, peer: &Peer, turn: &Turn, now: Instant) -> Duration {
        let mut known = self.0.lock().expect("no panic while the failures are locked");
        let network = network(peer);
        if known.len() >= REMEMBERED && !known.contains_key(&network) {
            make_room(&mut known, now);
        }
        let failures = known.entry(network).or_insert(Failures { count: 0, last: now, free_at: now });
        if now - failures.last > FORGOTTEN {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if *turn != Turn::Now {
            return Duration::ZERO;
        }
        failures.free_at = failures.free_at.max(now) + delay(failures.count);
        failures.free_at - now
    }
}

/// The delay of the failure of this number.
fn delay(count: u32) -> Duration {
    FIRST.saturating_mul(1 << count.saturating_sub(1).min(16)).min(LONGEST)
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

    /// An attempt with a wrong token as soon as its turn comes; the time of the reply after `now`.
    fn fail(throttle: &AuthThrottle, address: &str, now: Instant) -> Instant {
        let turn = throttle.reserve(&peer(address), now);
        match turn {
            Turn::Now => now + throttle.failed(&peer(address), &turn, now),
            Turn::At(at) => at + throttle.failed(&peer(address), &turn, at),
            Turn::Refused(_) => panic!("too early"),
        }
    }

    #[test]
    fn failure_doubles_the_delay_of_its_own_network_only() {
        let throttle = AuthThrottle::default();
        let mut now = Instant::now();
        let delays: Vec<_> = (0..7)
            .map(|_| {
                let before = now;
                now = fail(&throttle, "192.0.2.1", before);
                (now - before).as_millis()
            })
            .collect();
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 5000, 5000]);
        let delay = |address: &str| fail(&throttle, address, now) - now;
        assert_eq!(delay("192.0.2.2"), FIRST);
        assert_eq!(delay("2001:db8::1"), FIRST);
        assert_eq!(throttle.reserve(&peer("::ffff:192.0.2.2"), now), Turn::At(now + FIRST));
        assert_eq!(throttle.reserve(&peer("2001:db8::2"), now), Turn::At(now + FIRST));
        assert_eq!(delay("2001:db8:0:1::2"), FIRST);
    }

    #[test]
    fn reserve_charges_an_attempt_that_hangs_up() {
        let throttle = AuthThrottle::default();
        let now = Instant::now();
        fail(&throttle, "192.0.2.1", now);
        let turns: Vec<_> = (0..1_000).map(|_| throttle.reserve(&peer("192.0.2.1"), now)).collect();
        let waiting = turns.iter().filter(|turn| matches!(turn, Turn::At(_))).count();
        assert!((1..40).contains(&waiting), "{waiting} attempts at once");
        assert!(matches!(turns.last(), Some(Turn::Refused(_))));
    }

    #[test]
    fn throttle_remembers_a_bounded_number_of_networks() {
        let throttle = AuthThrottle::default();
        for number in 0..3 * REMEMBERED as u32 {
            let peer = Peer::Tcp((IpAddr::from(number.to_be_bytes()), 1).into());
            throttle.failed(&peer, &Turn::Now, Instant::now());
        }
        assert!(throttle.0.lock().unwrap().len() <= REMEMBERED);
    }
}
