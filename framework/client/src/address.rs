//! The address of a server: a host and a port, or a Unix socket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use framework_console::config::Config;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// The address of a server: `host:port`, `[::1]:9501`, or `unix:` and the path of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(String),
    /// A relative path starts at the project's root when it comes from the settings, else at the current
    /// directory.
    Unix(PathBuf),
}

/// One address or several; when one cannot be reached, the next one is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses(pub Vec<Address>);

impl Address {
    /// The same address with the absolute path of a socket: [`Config::path`].
    pub fn rooted(self, config: &Config) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(config.path(path)),
            tcp => tcp,
        }
    }

    /// The host's name, to be compared with the server's certificate.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp(address) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                host.trim_start_matches('[').trim_end_matches(']')
            }
            Self::Unix(_) => "localhost",
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no address: write host:port, such as 127.0.0.1:9501, or unix:path");
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(wrong()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let is_bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        let is_right = !host.is_empty() && !is_bare_ipv6 && !host.contains(['/', ' ']);
        match port.parse::<u16>() {
            Ok(_) if is_right => Ok(Self::Tcp(text.to_owned())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tcp(address) => formatter.write_str(address),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Addresses {
    type Err = String;

    /// Parses addresses separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|address| address.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Addresses;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an address such as \"127.0.0.1:9501\", or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Addresses, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Addresses, A::Error> {
                let mut addresses = Vec::new();
                while let Some(text) = list.next_element::<String>()? {
                    addresses.push(text.parse().map_err(A::Error::custom)?);
                }
                Ok(Addresses(addresses))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_a_host_and_a_port_or_a_socket_and_displays_as_written() {
        for text in ["127.0.0.1:9501", "[::1]:9501", "tasks.example.com:1", "unix:runtime/think.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for wrong in ["", "localhost", ":9501", "::1:9501", "a:70000", "http://a:80", "unix:"] {
            assert!(wrong.parse::<Address>().unwrap_err().contains("host:port"), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_a_list_or_separated_by_commas() {
        let list: Addresses = serde_json::from_str("[\"a:1\", \"b:2\"]").unwrap();
        assert_eq!(list, serde_json::from_str("\"a:1, b:2\"").unwrap());
        assert!(serde_json::from_str::<Addresses>("5").is_err());
    }

    #[test]
    fn host_leaves_out_port_and_brackets() {
        let host = |text: &str| text.parse::<Address>().unwrap().host().to_owned();
        assert_eq!((host("a.b:1"), host("[::1]:2")), ("a.b".to_owned(), "::1".to_owned()));
    }
}
