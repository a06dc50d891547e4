//! The keys and values of a section, read off the section itself so that no list of them can drift.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Section;

/// The keys of a section, in the order of its fields.
pub(super) fn keys<S: Section>() -> Vec<String> {
    fields(&S::default()).into_iter().map(|(key, _)| key).collect()
}

/// The keys of a section with its values, in the order of its fields. Goes through JSON, where an unset key
/// is
/// `null`; TOML would leave it out.
pub(super) fn fields(section: &impl Serialize) -> Vec<(String, Value)> {
    let json = serde_json::to_string(section).expect("a section is plain data");
    serde_json::Deserializer::from_str(&json).deserialize_map(Fields).expect("a section is a struct")
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a struct")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;

    #[test]
    fn keys_include_those_that_are_not_set() {
        assert!(keys::<Sample>().contains(&"name".to_owned()));
        assert_eq!(keys::<Sample>()[0], "port");
    }
}
