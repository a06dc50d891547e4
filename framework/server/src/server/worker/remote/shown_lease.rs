//! The leases that workers name in their messages.

use super::lease_name::LeaseName;
use super::session_key::SessionKey;

/// A lease as a worker names it: one that was handed out without a connection has the secret of its session
/// behind its name, so that nobody else can settle it.
pub(super) struct ShownLease {
    pub(super) name: LeaseName,
    pub(super) poll: Option<SessionKey>,
}

impl ShownLease {
    /// `None` for a text that no worker was given.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let secret = text.match_indices('.').nth(1).map(|(dot, _)| dot);
        let (name, poll) = match secret {
            Some(dot) => (&text[..dot], Some(SessionKey::of_poll(&text[dot + 1..]))),
            None => (text, None),
        };
        Some(Self { name: LeaseName::parse(name)?, poll })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_lease_is_that_of_a_connection_or_has_a_secret() {
        let lease = |text| ShownLease::parse(text).map(|lease| (lease.name, lease.poll));
        let name = LeaseName { epoch: 0x91, token: 0xa7 };
        assert_eq!(lease("91.a7"), Some((name, None)));
        assert_eq!(lease("91.a7.s"), Some((name, Some(SessionKey::of_poll("s")))));
        assert_eq!(lease("91.a7."), Some((name, Some(SessionKey::of_poll("")))));
        assert_eq!((lease("91"), lease("x.7.s"), lease("..")), (None, None, None));
    }
}
