//! Formats times, durations, states and counts.

use std::time::{Duration, SystemTime};

use framework::humantime::{format_duration, format_rfc3339_seconds};
use framework::output::Style;
use framework::views::{BatchInfo, BatchState, State};

/// Formats milliseconds: `0.85 ms`, `420 ms`, `1m 12s`.
pub(crate) fn format_millis(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 10_000.0 => format!("{ms:.0} ms"),
        ms => format_duration(Duration::from_secs((ms / 1000.0) as u64)).to_string(),
    }
}

/// Formats a time in milliseconds since 1970: `2026-12-01T01:00:00Z`.
pub(crate) fn format_timestamp(milliseconds: u64) -> String {
    /// The last second of the year 9999, the last that the format can show.
    const LAST: u64 = 253_402_300_799;
    match milliseconds / 1000 {
        seconds @ 0..=LAST => {
            format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
        }
        _ => "after the year 9999".to_owned(),
    }
}

/// The same, empty for `None`.
pub(crate) fn format_optional_timestamp(milliseconds: Option<u64>) -> String {
    milliseconds.map(format_timestamp).unwrap_or_default()
}

/// `1 task`, `2 tasks`.
pub(crate) fn count_tasks(count: u64) -> String {
    pluralize(count, "task")
}

/// `1 line`, `2 lines`.
pub(crate) fn pluralize(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// The first `width` characters of a text; line ends become spaces.
pub(crate) fn truncate(text: &str, width: usize) -> String {
    let mut line: String = text.chars().take(width).collect();
    if text.chars().nth(width).is_some() {
        line.pop();
        line.push('…');
    }
    line.replace(['\n', '\r'], " ")
}

/// The colour of a state.
pub(crate) fn state_style(state: State) -> Style {
    match state {
        State::Waiting => Style::Muted,
        State::Running => Style::Name,
        State::Done => Style::Good,
        State::Failed => Style::Bad,
        State::Cancelled | State::Expired => Style::Warning,
    }
}

/// The state of a batch: `open`, `cancelling`, `61%`, `ended`.
pub(crate) fn batch_state(batch: &BatchInfo) -> String {
    match batch.state {
        BatchState::Open => "open: its tasks wait until it is sealed".to_owned(),
        BatchState::Abandoned => "cancelled before it was sealed: its tasks are being cancelled".to_owned(),
        BatchState::Running => format!("{:.0}%", percent(batch)),
        BatchState::Ended => "ended".to_owned(),
    }
}

/// The progress of a batch, from 0 to 100.
pub(crate) fn percent(batch: &BatchInfo) -> f64 {
    100.0 * batch.ended() as f64 / batch.total.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_timestamp_is_in_utc() {
        assert_eq!(format_timestamp(1_764_550_800_123), "2025-12-01T01:00:00Z");
        assert_eq!(format_timestamp(u64::MAX), "after the year 9999");
    }

    #[test]
    fn truncate_cuts_between_characters() {
        assert_eq!(truncate("Grüße", 5), "Grüße");
        assert_eq!(truncate("Grüße aus\nWien", 8), "Grüße a…");
    }
}
