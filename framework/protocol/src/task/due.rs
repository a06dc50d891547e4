//! When something falls due: at once, after a while, or at a time of the clock on the wall.

use std::time::{Duration, SystemTime};

use crate::request::TimeSpec;

/// When something falls due.
///
/// The two kinds differ when somebody sets the clock: a while stays as long as it is, a time of day follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Due {
    #[default]
    Now,
    /// This long after it was asked for.
    After(Duration),
    /// When the clock shows so many milliseconds since 1970 in UTC.
    At(u64),
}

impl From<TimeSpec> for Due {
    fn from(when: TimeSpec) -> Self {
        match when {
            TimeSpec::After(span) => Self::After(span),
            TimeSpec::At(at_ms) => Self::At(at_ms),
        }
    }
}

/// Milliseconds since 1970 in UTC, as the machine's clock has them.
pub fn now_ms() -> u64 {
    // A clock before 1970 is as good as one at 1970.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
