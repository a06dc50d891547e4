//! The time or size at which a log file is rotated.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::size;

const HOUR: u64 = 60 * 60;

/// The time or size at which a log file is rotated: `"daily"`, `"hourly"`, a size such as `"100MB"`, or
/// `"none"`.
///
/// Days and hours begin as the times in the log say: in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    None,
    Hourly,
    Daily,
    /// Before the file would grow beyond this number of bytes.
    Size(usize),
}

impl Rotation {
    /// Whether a line of `length` bytes at `now` begins a new file, if the present one holds `size` bytes and
    /// was last written at `written`.
    pub(super) fn is_due(self, size: u64, length: usize, written: SystemTime, now: SystemTime) -> bool {
        match self {
            Self::None => false,
            Self::Hourly => size > 0 && period(written, HOUR) < period(now, HOUR),
            Self::Daily => size > 0 && period(written, 24 * HOUR) < period(now, 24 * HOUR),
            Self::Size(max) => size > 0 && size + length as u64 > max as u64,
        }
    }
}

fn period(time: SystemTime, seconds: u64) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() / seconds
}

impl Serialize for Rotation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Hourly => serializer.serialize_str("hourly"),
            Self::Daily => serializer.serialize_str("daily"),
            Self::Size(bytes) => size::serialize(bytes, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Rotation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RotationVisitor)
    }
}

struct RotationVisitor;

impl Visitor<'_> for RotationVisitor {
    type Value = Rotation;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("\"daily\", \"hourly\", \"none\", or a size such as \"100MB\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Rotation, E> {
        let size = || {
            let text: StrDeserializer<'_, ValueError> = text.into_deserializer();
            size::deserialize(text).map(Rotation::Size)
        };
        match text {
            "none" => Ok(Rotation::None),
            "hourly" => Ok(Rotation::Hourly),
            "daily" => Ok(Rotation::Daily),
            _ => size().map_err(|_| E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Rotation, E> {
        usize::try_from(bytes)
            .map(Rotation::Size)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(bytes), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn rotation_survives_being_serialized() {
        for text in ["none", "hourly", "daily", "100MB", "64KB"] {
            let rotation: Rotation = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(serde_json::to_string(&rotation).unwrap(), format!("\"{text}\""));
        }
        assert_eq!(serde_json::from_str::<Rotation>("1024").unwrap(), Rotation::Size(1024));
        let error = serde_json::from_str::<Rotation>("\"weekly\"").unwrap_err().to_string();
        assert!(error.contains("\"weekly\"") && error.contains("\"daily\", \"hourly\""), "{error}");
    }

    #[test]
    fn rotation_is_due_at_midnight_in_utc_or_before_the_size_is_exceeded() {
        let due = |rotation: Rotation, size, written, now| rotation.is_due(size, 10, at(written), at(now));
        assert!(due(Rotation::Daily, 1, 24 * HOUR - 1, 24 * HOUR));
        assert!(!due(Rotation::Daily, 1, 23 * HOUR, 24 * HOUR - 1));
        assert!(due(Rotation::Hourly, 1, 23 * HOUR, 24 * HOUR));
        assert!(!due(Rotation::Daily, 0, 0, 24 * HOUR), "an empty file is not rotated");
        assert!(due(Rotation::Size(100), 91, 0, 0));
        assert!(!due(Rotation::Size(100), 90, 0, 0));
        assert!(!due(Rotation::None, u64::MAX, 0, 24 * HOUR));
    }
}
