//! The value of a setting that is a rate: `"100/s"`, `"5/min"`, `"1000/h"`.

use std::fmt;
use std::time::Duration;

use framework_console::config::duration;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::store::Rate;

/// The units and their seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("h", 60 * 60), ("day", 24 * 60 * 60)];

/// The number of tasks of a queue that may start in a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueRate(pub Rate);

impl Serialize for QueueRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Rate { count, per } = self.0;
        match UNITS.iter().find(|(_, seconds)| per == Duration::from_secs(*seconds)) {
            Some((unit, _)) => serializer.collect_str(&format_args!("{count}/{unit}")),
            None => serializer.collect_str(&format_args!("{count}/{}", humantime::format_duration(per))),
        }
    }
}

impl<'de> Deserialize<'de> for QueueRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = QueueRate;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a rate such as \"100/s\", \"5/min\" or \"1000/h\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<QueueRate, E> {
                parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Parses a number above zero and a period of up to a day: a unit alone, or several as in `10/5s`.
fn parse(text: &str) -> Option<QueueRate> {
    let (count, per) = text.split_once('/')?;
    let count = count.trim().parse().ok().filter(|count| *count > 0)?;
    let per = per.trim();
    let named = UNITS.iter().find(|(unit, _)| *unit == per).map(|(_, seconds)| Duration::from_secs(*seconds));
    let per = named.or_else(|| duration::parse(per))?;
    let longest = Duration::from_secs(24 * 60 * 60);
    (!per.is_zero() && per <= longest).then_some(QueueRate(Rate { count, per }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_a_number_and_a_period() {
        for (text, count, seconds, written) in [
            ("100/s", 100, 1, "100/s"),
            (" 5 / min ", 5, 60, "5/min"),
            ("1000/1h", 1000, 3600, "1000/h"),
            ("1/90s", 1, 90, "1/1m 30s"),
        ] {
            let rate = parse(text).unwrap();
            assert_eq!(rate.0, Rate { count, per: Duration::from_secs(seconds) }, "{text}");
            let json = serde_json::to_value(rate).unwrap();
            assert_eq!((json.as_str(), parse(json.as_str().unwrap())), (Some(written), Some(rate)));
        }
    }

    #[test]
    fn parse_rejects_what_is_no_rate() {
        for text in
            ["", "100", "/s", "0/s", "-1/s", "1/", "1/0s", "1/week", "1.5/s", "5000000000/s", "1/2day"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
