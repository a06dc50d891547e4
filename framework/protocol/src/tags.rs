//! The tags of a task: what its sender wants to find it by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// The most tags of a task, and the longest name and value of one in bytes.
pub const TAGS_MAX: usize = 16;
const NAME_MAX: usize = 64;
const VALUE_MAX: usize = 256;

/// The tags of a task, each a name with a value: `{"tenant":"7","order":"4711"}`. A task has at most 16; a
/// name is 1 to 64 letters, digits, dots, dashes and underscores, a value at most 256 bytes without commas
/// and control characters.
///
/// They are also read from a list of texts such as `tenant=7`, and values may be numbers, `true` and `false`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Tags(BTreeMap<String, String>);

/// The reason why something is no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    #[error("a task has at most {TAGS_MAX} tags")]
    TooMany,
    #[error("a tag is NAME=VALUE, such as tenant=7")]
    NoValue,
    #[error("the tag {0} has one value, not two")]
    Twice(String),
    #[error("the name of a tag is 1 to {NAME_MAX} letters, digits, dots, dashes and underscores")]
    Name,
    #[error("the value of a tag is at most {VALUE_MAX} bytes, without commas and control characters")]
    Value,
}

impl Tags {
    /// Adds a tag, in place of an earlier one of this name.
    ///
    /// # Errors
    /// When there are 16 others, or it is no tag.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), TagError> {
        let is_name_letter = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_');
        if !(1..=NAME_MAX).contains(&name.len()) || !name.chars().all(is_name_letter) {
            return Err(TagError::Name);
        }
        if value.len() > VALUE_MAX || value.contains(|letter: char| letter == ',' || letter.is_control()) {
            return Err(TagError::Value);
        }
        self.0.insert(name.to_owned(), value.to_owned());
        if self.0.len() > TAGS_MAX { Err(TagError::TooMany) } else { Ok(()) }
    }

    /// The tags that these texts say, each as `NAME=VALUE`.
    ///
    /// # Errors
    /// When one is no tag, or they are too many.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, TagError> {
        let mut tags = Self::default();
        for text in texts {
            let (name, value) = text.split_once('=').ok_or(TagError::NoValue)?;
            tags.add(name, value)?;
        }
        Ok(tags)
    }

    /// These tags together.
    ///
    /// # Errors
    /// When they are too many, or two of one name have other values.
    pub fn of(tags: impl IntoIterator<Item = Tag>) -> Result<Self, TagError> {
        let mut all = Self::default();
        for Tag { name, value } in tags {
            if all.get(&name).is_some_and(|other| other != value) {
                return Err(TagError::Twice(name));
            }
            all.add(&name, &value)?;
        }
        Ok(all)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Each name with its value, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether all of these are among the others.
    pub fn are_among(&self, others: &Self) -> bool {
        self.iter().all(|(name, value)| others.get(name) == Some(value))
    }

    /// The memory that they take, in bytes, about.
    pub fn memory(&self) -> usize {
        self.0.iter().map(|(name, value)| 2 * size_of::<String>() + name.len() + value.len()).sum()
    }
}

/// One tag, as people write it: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    pub name: String,
    pub value: String,
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, TagError> {
        let tags = Tags::parse([text])?;
        tags.0.into_iter().next().map(|(name, value)| Self { name, value }).ok_or(TagError::NoValue)
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        for (index, (name, value)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{name}={value}")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TagsVisitor;
        impl<'de> Visitor<'de> for TagsVisitor {
            type Value = Tags;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of texts, or a list of NAME=VALUE")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Tags, M::Error> {
                let mut tags = Tags::default();
                while let Some(name) = map.next_key::<Cow<str>>()? {
                    let value = map.next_value::<TagValue>()?.0;
                    tags.add(&name, &value).map_err(M::Error::custom)?;
                }
                Ok(tags)
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut texts: S) -> Result<Tags, S::Error> {
                let mut tags = Tags::default();
                while let Some(text) = texts.next_element::<Cow<str>>()? {
                    let (name, value) = text.split_once('=').ok_or(S::Error::custom(TagError::NoValue))?;
                    tags.add(name, value).map_err(S::Error::custom)?;
                }
                Ok(tags)
            }
        }
        deserializer.deserialize_any(TagsVisitor)
    }
}

/// A value of a tag as it stands in JSON.
struct TagValue(String);

impl<'de> Deserialize<'de> for TagValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => {
                Ok(Self(value.to_string()))
            }
            _ => Err(D::Error::custom(TagError::Value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<String, String> {
        serde_json::from_str::<Tags>(json).map(|tags| tags.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn tags_are_read_from_an_object_and_from_a_list() {
        let expected = Ok("order=4711, paid=true, tenant=7".to_owned());
        assert_eq!(read(r#"{"tenant":"7","order":4711,"paid":true}"#), expected);
        assert_eq!(read(r#"["tenant=7","order=4711","paid=true"]"#), expected);
        assert_eq!(read(r#"["a=b=c","d="]"#), Ok("a=b=c, d=".to_owned()));
        assert_eq!(read("{}"), Ok(String::new()));
        assert_eq!(read(r#"["a=1","a=2"]"#), Ok("a=2".to_owned()), "the last one counts");
    }

    #[test]
    fn tags_that_are_too_many_or_too_long_are_refused() {
        let many: Vec<_> = (0..17).map(|number| format!("\"t{number}=x\"")).collect();
        assert!(read(&format!("[{}]", many.join(","))).unwrap_err().contains("at most 16 tags"));
        assert!(read(&format!("[{}]", many[1..].join(","))).is_ok());
        let long = "x".repeat(257);
        for (json, part) in [
            (format!(r#"{{"a":"{long}"}}"#), "at most 256 bytes"),
            (format!(r#"{{"{long}":"a"}}"#), "1 to 64"),
            (r#"{"":"a"}"#.to_owned(), "1 to 64"),
            (r#"{"a b":"a"}"#.to_owned(), "1 to 64"),
            (r#"{"a":"x\n"}"#.to_owned(), "control characters"),
            (r#"{"a":"x,y"}"#.to_owned(), "commas"),
            (r#"{"a":null}"#.to_owned(), "control characters"),
            (r#"["a"]"#.to_owned(), "NAME=VALUE"),
        ] {
            assert!(read(&json).unwrap_err().contains(part), "{json}");
        }
        assert!(read("7").is_err() && read("[7]").is_err());
    }

    #[test]
    fn tags_are_among_others_by_name_and_value() {
        let tags = |texts: &[&str]| Tags::parse(texts.iter().copied()).unwrap();
        let all = tags(&["tenant=7", "order=4711"]);
        assert!(tags(&["tenant=7"]).are_among(&all) && tags(&[]).are_among(&all));
        assert!(!tags(&["tenant=8"]).are_among(&all) && !tags(&["user=7"]).are_among(&all));
    }
}
