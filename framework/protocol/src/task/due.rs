//! A due time: at once, after a pause, or at a time of the wall clock.

use std::time::{Duration, SystemTime};

use crate::request::TimeSpec;

/// A due time.
///
/// The two kinds differ when the clock is set: a pause stays as long as it is, a time of day follows the
/// clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Due {
    #[default]
    Now,
    /// This long after the request.
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
