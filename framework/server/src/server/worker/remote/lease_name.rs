//! The names of leases, as workers see them.

use std::fmt;

/// The name of a lease: the process that has given it, and its token there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LeaseName {
    /// When that process began to hand out tasks, in milliseconds since 1970.
    pub(crate) epoch: u64,
    pub(crate) token: u64,
}

impl LeaseName {
    /// `None` for a text that is no name of a lease.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (epoch, token) = text.split_once('.')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self { epoch: number(epoch)?, token: number(token)? })
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{:x}.{:x}", self.epoch, self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_what_is_shown_and_nothing_else() {
        let name = LeaseName { epoch: 0x91, token: 0xa7 };
        assert_eq!((name.to_string().as_str(), LeaseName::parse("91.a7")), ("91.a7", Some(name)));
        for text in ["", ".", "91", "91.", ".7", "x.7", "1.ffffffffffffffffff", "91.7.1"] {
            assert_eq!(LeaseName::parse(text), None, "{text}");
        }
    }
}
