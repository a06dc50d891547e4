//! A duration: `30s`, `1h 30m`, or a number of seconds as in Swoole.
//!
//! For a field of type [`Duration`]: `#[serde(with = "framework::config::duration")]`. [`parse`] reads the
//! same in options of the command line.

use std::fmt;
use std::time::Duration;

use serde::Serializer;
use serde::de::{Deserializer, Error, Visitor};

/// Parses a text with units, such as `500ms` or `1h 30m`, or a number of seconds; `None` if it is neither.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

/// Serializes a duration as `30s` or `1h 30m`.
///
/// # Errors
/// Errors of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// Deserializes a text with units, or a number of seconds.
///
/// # Errors
/// When it is neither, or negative.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Time)
}

struct Time;

impl Visitor<'_> for Time {
    type Value = Duration;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a time such as \"30s\" or \"10m\", or a number of seconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(seconds))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
        u64::try_from(seconds)
            .map(Duration::from_secs)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(seconds), &self))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Float(seconds), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wait(#[serde(with = "super")] Duration);

    fn read(json: &str) -> Result<Duration, serde_json::Error> {
        serde_json::from_str::<Wait>(json).map(|wait| wait.0)
    }

    #[test]
    fn duration_is_a_text_with_units_or_a_number_of_seconds() {
        assert_eq!(read(r#""10m""#).unwrap(), Duration::from_secs(600));
        assert_eq!(read(r#""30""#).unwrap(), Duration::from_secs(30));
        assert_eq!(read("30").unwrap(), Duration::from_secs(30));
        assert_eq!(read("0.5").unwrap(), Duration::from_millis(500));
    }

    #[test]
    fn duration_is_never_negative_nor_of_an_unknown_unit() {
        for wrong in ["-1", "-0.5", "1e300", r#""-1s""#, r#""5 parsecs""#, r#""NaN""#, r#""""#, "true"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn duration_survives_being_serialized() {
        for duration in [Duration::ZERO, Duration::from_millis(1_500), Duration::from_secs(5_400)] {
            let text = serde_json::to_string(&Wait(duration)).unwrap();
            assert_eq!(read(&text).unwrap(), duration, "{text}");
        }
    }
}
