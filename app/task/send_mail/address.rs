//! A valid mail address.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use framework::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use lettre::Address;
use lettre::address::AddressError;
use lettre::message::Mailbox;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// The length limit of the name in front of an address, in characters: it cannot be folded everywhere.
const MAX_NAME: usize = 256;

/// A mail address: `ada@example.com` or `Ada <ada@example.com>`. It is in ASCII, the domain in punycode, as
/// every mail server understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MailAddress(Mailbox);

impl MailAddress {
    pub(super) fn mailbox(&self) -> Mailbox {
        self.0.clone()
    }

    /// The domain, in ASCII.
    pub(super) fn domain(&self) -> &str {
        self.0.email.domain()
    }
}

/// The error of a text that is not a mail address.
#[derive(Debug)]
pub(super) struct BadAddress {
    text: String,
    reason: &'static str,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{:?} is not a mail address: {}", self.text, self.reason)
    }
}

fn reason(error: &AddressError) -> &'static str {
    match error {
        AddressError::MissingParts => "the part before or after the @ is missing",
        AddressError::InvalidUser => "the part before the @ is not valid",
        AddressError::InvalidDomain => "the part after the @ is not a domain",
        _ => "it is not of the form ada@example.com or Ada <ada@example.com>",
    }
}

impl FromStr for MailAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = |reason| BadAddress { text: text.into(), reason };
        let mailbox: Mailbox = text.parse().map_err(|error| bad(reason(&error)))?;
        if !mailbox.email.user().is_ascii() {
            return Err(bad("the part before the @ is not ASCII, which few mail servers accept"));
        }
        if mailbox.name.as_ref().is_some_and(|name| name.chars().count() > MAX_NAME) {
            return Err(bad("the name is too long"));
        }
        let domain = mailbox.email.domain();
        if domain.is_ascii() {
            return Ok(Self(mailbox));
        }
        let invalid = || bad("the part after the @ is not a domain");
        let domain = idna::domain_to_ascii_strict(domain).map_err(|_| invalid())?;
        let email = Address::new(mailbox.email.user(), domain).map_err(|_| invalid())?;
        Ok(Self(Mailbox::new(mailbox.name, email)))
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl<'de> Deserialize<'de> for MailAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for MailAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for MailAddress {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MailAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["ada@example.com", "Ada <ada@example.com>"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_survives_being_serialized() {
        for text in ["ada@example.com", "Ada <ada@example.com>", "Ада <ada@почта.рф>", "\"L, Ada\" <a@b.com>"]
        {
            let address: MailAddress = text.parse().unwrap();
            let json = serde_json::to_string(&address).unwrap();
            assert_eq!(serde_json::from_str::<MailAddress>(&json).unwrap(), address, "{json}");
        }
    }

    #[test]
    fn domain_is_written_in_ascii() {
        let address: MailAddress = "Ana <info@b\u{e4}ckerei-m\u{fc}ller.example>".parse().unwrap();
        assert_eq!(address.to_string(), "Ana <info@xn--bckerei-mller-bfb28a.example>");
    }

    #[test]
    fn part_before_the_at_has_to_be_ascii() {
        let error = "j\u{f6}rg@example.com".parse::<MailAddress>().unwrap_err().to_string();
        assert!(error.contains("the part before the @ is not ASCII"), "{error}");
    }
}
