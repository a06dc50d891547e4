//! A due time: at once, after a pause, or at a time of the wall clock.

use std::time::{Duration, SystemTime};

use framework_console::config::duration;

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

/// The milliseconds since 1970 of a date and time with its offset, such as `2026-12-01T09:00:00+08:00`, or of
/// a span that lies back so long, such as `2h`.
pub fn parse_moment(text: &str) -> Option<u64> {
    let moment = text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond().max(0).unsigned_abs());
    moment.or_else(|| Some(now_ms().saturating_sub(duration::parse(text)?.as_millis() as u64)))
}

/// A moment in milliseconds since 1970 as a text that requests take; the last one that there is for later
/// ones.
pub fn moment_text(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Milliseconds since 1970 in UTC, as the machine's clock has them.
pub fn now_ms() -> u64 {
    // A clock before 1970 is as good as one at 1970.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
