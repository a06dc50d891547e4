//! A valid mail address.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use framework::schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use lettre::address::AddressError;
use lettre::message::Mailbox;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize, Serializer};

/// A mail address: `ada@example.com` or `Ada <ada@example.com>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MailAddress(Mailbox);

impl MailAddress {
    pub(super) fn mailbox(&self) -> Mailbox {
        self.0.clone()
    }

    /// The domain, if it is ASCII, as identifiers require.
    pub(super) fn ascii_domain(&self) -> Option<&str> {
        Some(self.0.email.domain()).filter(|domain| domain.is_ascii())
    }
}

/// The error of a text that is not a mail address.
#[derive(Debug)]
pub(super) struct BadAddress {
    text: String,
    source: AddressError,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let reason = match self.source {
            AddressError::MissingParts => "the part before or after the @ is missing",
            AddressError::InvalidUser => "the part before the @ is not valid",
            AddressError::InvalidDomain => "the part after the @ is not a domain",
            _ => "it is not of the form ada@example.com or Ada <ada@example.com>",
        };
        write!(formatter, "{:?} is not a mail address: {reason}", self.text)
    }
}

impl FromStr for MailAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        text.parse().map(Self).map_err(|source| BadAddress { text: text.into(), source })
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
}
