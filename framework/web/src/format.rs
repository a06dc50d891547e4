//! Numbers, times and lengths as people read them, the same in every language.

use jiff::Timestamp;
use maud::{Markup, html};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A number with commas between thousands.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A time span by its two largest units: `350 ms`, `12.4 s`, `3 min 5 s`, `2 h 4 min`, `3 d 2 h`.
pub(crate) fn span(ms: u64) -> String {
    let two = |large: u64, small: u64, names: (&str, &str)| match ms % large / small {
        0 => format!("{} {}", ms / large, names.0),
        rest => format!("{} {} {rest} {}", ms / large, names.0, names.1),
    };
    match ms {
        0..SECOND => format!("{ms} ms"),
        SECOND..MINUTE => format!("{}.{} s", ms / SECOND, ms % SECOND / 100),
        MINUTE..HOUR => two(MINUTE, SECOND, ("min", "s")),
        HOUR..DAY => two(HOUR, MINUTE, ("h", "min")),
        _ => two(DAY, HOUR, ("d", "h")),
    }
}

/// A time span that may be a fraction of a millisecond.
pub(crate) fn short_span(ms: f64) -> String {
    if ms < 1.0 {
        format!("{ms:.2} ms")
    } else if ms < 100.0 {
        format!("{ms:.1} ms")
    } else {
        span(ms as u64)
    }
}

/// A number of bytes: `512 B`, `1.5 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KB", "MB", "GB"] {
        if value < 1_024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1_024.0;
    }
    format!("{value:.1} TB")
}

/// A moment, in milliseconds since 1970: in UTC, and by the script in the time zone of the reader.
pub(crate) fn moment(ms: u64) -> Markup {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match at {
        Some(at) => {
            let text = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
            html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()) title=(text) { (text) } }
        }
        // Such as the end of time, up to which a schedule is switched off.
        None => html! { "–" },
    }
}

/// The day of a moment, in UTC.
pub(crate) fn day(ms: u64) -> String {
    let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "–".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

/// A moment that may not have come.
pub(crate) fn moment_or_dash(ms: Option<u64>) -> Markup {
    ms.map_or_else(|| html! { span.faint { "–" } }, moment)
}

/// A text with each `{}` replaced by the next value, and each `{one|many}` by what fits the value before it:
/// `{} {task waits|tasks wait}`.
pub(crate) fn fill(text: &str, values: &[&str]) -> String {
    let mut values = values.iter().copied();
    let (mut filled, mut last, mut rest) = (String::new(), "", text);
    while let Some((before, braced)) = rest.split_once('{') {
        let Some((inside, behind)) = braced.split_once('}') else { break };
        filled.push_str(before);
        match inside.split_once('|') {
            Some((one, many)) => filled.push_str(if last == "1" { one } else { many }),
            None => {
                last = values.next().unwrap_or_default();
                filled.push_str(last);
            }
        }
        rest = behind;
    }
    filled + rest
}

/// The first line of a text, cut at so many characters.
pub(crate) fn first_line(text: &str, limit: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut cut: String = line.chars().take(limit).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_has_commas_between_thousands() {
        let numbers = [0, 12, 999, 1_000, 12_345_678].map(number);
        assert_eq!(numbers, ["0", "12", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn span_shows_its_two_largest_units() {
        let spans = [0, 999, 1_250, 60_000, 185_000, 7_440_000, 266_400_000].map(span);
        assert_eq!(spans, ["0 ms", "999 ms", "1.2 s", "1 min", "3 min 5 s", "2 h 4 min", "3 d 2 h"]);
        assert_eq!([0.25, 12.34, 4_200.0].map(short_span), ["0.25 ms", "12.3 ms", "4.2 s"]);
    }

    #[test]
    fn bytes_have_one_decimal() {
        assert_eq!([0, 1_023, 1_536, 5 << 40].map(bytes), ["0 B", "1023 B", "1.5 KB", "5.0 TB"]);
    }

    #[test]
    fn moment_is_utc_and_never_fails() {
        assert!(moment(0).into_string().contains("1970-01-01 00:00:00 UTC"));
        assert_eq!(moment(u64::MAX).into_string(), "–");
    }

    #[test]
    fn fill_takes_values_in_their_order() {
        assert_eq!(fill("{} of {} tasks", &["3", "5"]), "3 of 5 tasks");
        assert_eq!(fill("none", &["3"]), "none");
        assert_eq!(fill("{}{}", &["{}"]), "{}");
    }

    #[test]
    fn fill_chooses_the_words_for_one_and_for_many() {
        let waiting = ["0", "1", "2"].map(|count| fill("{} {task waits|tasks wait}.", &[count]));
        assert_eq!(waiting, ["0 tasks wait.", "1 task waits.", "2 tasks wait."]);
        assert_eq!(fill("a { b", &[]), "a { b");
    }

    #[test]
    fn first_line_is_cut_between_characters() {
        assert_eq!(first_line("ab\ncd", 10), "ab…");
        assert_eq!((first_line("你好吗", 2), first_line("ab", 2)), ("你好…".to_owned(), "ab".to_owned()));
    }
}
