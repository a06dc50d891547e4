//! A size in bytes: `2MB`, `64KiB`, or a number of bytes.
//!
//! For a field of type `usize`: `#[serde(with = "framework::config::size")]`. As in Swoole and PHP a kilobyte
//! is 1024 bytes, however it is spelt.

use std::fmt;

use serde::Serializer;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

const UNITS: [(&str, u64); 4] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];

/// Serializes a size in the largest unit without a remainder: `2MB`, `1500B`.
///
/// # Errors
/// Errors of the serializer.
pub fn serialize<S: Serializer>(size: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = *size as u64;
    let whole = UNITS.into_iter().find(|(_, unit)| bytes != 0 && bytes % unit == 0);
    let (name, unit) = whole.unwrap_or(("B", 1));
    serializer.collect_str(&format_args!("{}{name}", bytes / unit))
}

/// Deserializes a text with a unit, or a number of bytes.
///
/// # Errors
/// When it is neither, or more than memory can address.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    deserializer.deserialize_any(Size)
}

struct Size;

impl Visitor<'_> for Size {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a size such as \"2MB\" or \"64KiB\", or a number of bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        parse(text)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<usize, E> {
        usize::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Unsigned(bytes), &self))
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<usize, E> {
        usize::try_from(bytes).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
    }
}

fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit.trim().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Limit(#[serde(with = "super")] usize);

    fn read(json: &str) -> Result<usize, serde_json::Error> {
        serde_json::from_str::<Limit>(json).map(|limit| limit.0)
    }

    #[test]
    fn size_is_a_text_with_a_unit_or_a_number_of_bytes() {
        assert_eq!(read(r#""2MB""#).unwrap(), 2 << 20);
        assert_eq!(read(r#""2m""#).unwrap(), 2 << 20);
        assert_eq!(read(r#""64 KiB""#).unwrap(), 64 << 10);
        assert_eq!(read(r#""1500""#).unwrap(), 1_500);
        assert_eq!(read("2097152").unwrap(), 2 << 20);
    }

    #[test]
    fn size_is_never_negative_nor_of_an_unknown_unit_nor_beyond_memory() {
        for wrong in ["-1", "1.5", r#""2 pages""#, r#""MB""#, r#""99999999999GB""#, r#""""#, "true"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn size_survives_being_serialized() {
        for (size, text) in [(0, "0B"), (1_500, "1500B"), (64 << 10, "64KB"), (2 << 20, "2MB")] {
            let written = serde_json::to_string(&Limit(size)).unwrap();
            assert_eq!(written, format!("\"{text}\""));
            assert_eq!(read(&written).unwrap(), size);
        }
    }
}
