//! The texts of a mail: a subject that is one line, and bodies that every mail server takes.

use std::fmt;

use email_encoding::headers::rfc2047;
use email_encoding::headers::writer::EmailWriter;
use framework::prelude::*;
use lettre::message::header::{HeaderName, HeaderValue};
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

const SUBJECT: &str = "Subject";
/// The length of a word from which on it is encoded: a header is folded between words, and each line of it
/// has 998 characters at most.
const LONG_WORD: usize = 60;

/// The body of a mail: lines of text without NUL, each line end a line feed.
#[derive(Debug)]
pub(super) struct Body(String);

impl fmt::Display for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(place) = text.chars().position(|character| character == '\0') {
            let place = place + 1;
            return Err(D::Error::custom(format!("character {place} is NUL, which no mail may contain")));
        }
        // A carriage return alone is a line end, too: some mail servers refuse it, and others take it for
        // one.
        Ok(Self(if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text }))
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Rejects line ends in the subject, with which a client could inject headers.
pub(super) fn one_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let title = String::deserialize(deserializer)?;
    if title.contains(char::is_control) {
        return Err(D::Error::custom(format!("the title {title:?} is not one line of text")));
    }
    Ok(title)
}

/// The subject, folded; a title with a long word is encoded, since it cannot be folded otherwise.
pub(super) fn subject(title: &str) -> Result<HeaderValue> {
    let name = HeaderName::new_from_ascii_str(SUBJECT);
    if title.split(' ').all(|word| word.len() < LONG_WORD) {
        return Ok(HeaderValue::new(name, title.to_owned()));
    }
    let mut encoded = String::new();
    let mut writer = EmailWriter::new(&mut encoded, SUBJECT.len() + 2, 0, false);
    rfc2047::encode(title, &mut writer).context("encoding the title")?;
    drop(writer);
    Ok(HeaderValue::dangerous_new_pre_encoded(name, title.to_owned(), encoded))
}
