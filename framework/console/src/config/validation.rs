//! Validation of values that have the right type, such as a number that is out of range.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

/// The keys with invalid values, each with a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(Vec<(Cow<'static, str>, String)>);

impl Invalid {
    /// An error about one key; the sentence continues its name: `"must be from 1 to 65535, not 0"`.
    pub fn new(key: impl Into<Cow<'static, str>>, sentence: impl Into<String>) -> Self {
        Self(vec![(key.into(), sentence.into())])
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, sentence)| (&**key, sentence.as_str()))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, sentence)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}`{key}` {sentence}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

/// Collects the errors of [`Section::check`](super::Section::check), so that all of them are reported at
/// once.
#[derive(Debug, Default)]
pub struct Validator(Vec<(Cow<'static, str>, String)>);

impl Validator {
    pub fn new() -> Self {
        Self::default()
    }

    /// Requires the number to be within `range`.
    pub fn range<N: PartialOrd + fmt::Display>(
        self,
        key: &'static str,
        value: N,
        range: RangeInclusive<N>,
    ) -> Self {
        let sentence = || format!("must be from {} to {}, not {value}", range.start(), range.end());
        self.that(key, range.contains(&value), sentence)
    }

    /// Requires the text, if any, not to be empty.
    pub fn not_empty(self, key: &'static str, value: Option<&str>) -> Self {
        self.that(key, value != Some(""), || "must not be empty".to_owned())
    }

    /// Requires `holds`; the sentence continues the key's name.
    pub fn that(
        mut self,
        key: impl Into<Cow<'static, str>>,
        holds: bool,
        sentence: impl FnOnce() -> String,
    ) -> Self {
        if !holds {
            self.0.push((key.into(), sentence()));
        }
        self
    }

    /// Ends the validation.
    ///
    /// # Errors
    /// When a requirement was not met.
    pub fn done(self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid(self.0)) }
    }
}
