//! The section `client`: addresses, credentials, limits and time limits.

use std::path::PathBuf;
use std::time::Duration;

use framework_console::config::{Config, Invalid, Secret, Section, Validator, duration, size};
use serde::{Deserialize, Serialize};

use crate::address::Addresses;
use crate::error::ClientError;
use crate::project::OwnProject;

/// The settings of a client: addresses, credentials, limits and time limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientSettings {
    /// The server's address; of several, the next one is used when one cannot be reached. `None`:
    /// 127.0.0.1:9501; the commands take the project's own server instead.
    pub address: Option<Addresses>,
    /// Whether all addresses lead to the same tasks, because they are one server's or these share a store.
    /// Otherwise a request that one server may have accepted is not sent to another.
    pub shared_store: bool,
    /// The token that is sent first on every connection, if there is one.
    pub token: Secret,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The certificates of the trusted authorities, or the server's own, in PEM form; required with `tls`,
    /// because the authorities of the system are not trusted. A relative path starts at the project's root.
    pub ca_file: Option<PathBuf>,
    /// This client's own certificate, for a server that asks for one, and its key; in PEM form.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate must have, if not that of the address.
    pub server_name: Option<String>,

    /// The greatest number of connections; a further one is opened only when the others are busy.
    pub connections: usize,
    /// The greatest number of requests without a reply on one connection; further ones wait.
    pub max_in_flight: usize,
    /// The greatest number of task ends awaited on one connection, abandoned waits included; further ones
    /// wait. A server stops reading from a connection that awaits as many as its own `max_in_flight`: stay
    /// below that.
    pub max_awaited: usize,
    /// The longest reply, in bytes.
    #[serde(with = "size")]
    pub max_reply_length: usize,
    /// The time limit for connecting, encrypting and authenticating at one address; also for the silence of a
    /// server that was asked for no reply ([`Client::send_no_wait`](crate::Client::send_no_wait)).
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// The time that a server which owes a reply may be silent before the connection is given up.
    #[serde(with = "duration")]
    pub reply_timeout: Duration,
    /// The time for which a request is tried again while no server can be reached, and for which a wait goes
    /// on after its connection is lost. Zero: no retries.
    #[serde(with = "duration")]
    pub retry_time: Duration,
    /// Whether a task that is sent without a key gets one of its own, so that it can be sent again without
    /// running twice; as long as the server remembers it (its `idempotency_window`) and keeps the task.
    pub auto_idempotency_keys: bool,
    /// The project whose own server is meant; a server of another one is refused. `None`: any server.
    #[serde(skip)]
    pub project: Option<OwnProject>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            address: None,
            shared_store: false,
            token: Secret::default(),
            tls: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            server_name: None,
            connections: 4,
            max_in_flight: 1_024,
            max_awaited: 1_024,
            max_reply_length: 64 << 20,
            connect_timeout: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(30),
            retry_time: Duration::from_secs(30),
            auto_idempotency_keys: true,
            project: None,
        }
    }
}

/// Larger numbers are mistakes.
const CONNECTIONS_MAX: usize = 1_000;
const IN_FLIGHT_MAX: usize = 1_000_000;
const BYTES_MAX: usize = 1 << 30;
/// Earlier names of settings, each with the sentence that says the present one.
const REPLACED: &[(&str, &str)] = &[
    ("in_flight_max", "the name is `max_in_flight` here"),
    ("awaited_max", "the name is `max_awaited` here"),
    ("answer_max_length", "the name is `max_reply_length` here"),
    ("answer_timeout", "the name is `reply_timeout` here"),
    ("key_sends", "the name is `auto_idempotency_keys` here"),
];
/// The longest time: a year.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Section for ClientSettings {
    const NAME: &'static str = "client";
    const REPLACED: &'static [(&'static str, &'static str)] = REPLACED;

    fn check(&self) -> Result<(), Invalid> {
        let is_given = |addresses: &Addresses| !addresses.0.is_empty();
        let year = |time: Duration| !time.is_zero() && time <= TIME_MAX;
        let bound = || "must be more than nothing and at most a year".to_owned();
        Validator::new()
            .that("address", self.address.as_ref().is_none_or(is_given), || "must not be empty".to_owned())
            .that("ca_file", !self.tls || self.ca_file.is_some(), || {
                "must be set with tls = true: the certificate that the server's is signed by, or the server's own"
                    .to_owned()
            })
            .that("key_file", self.key_file.is_some() == self.certificate_file.is_some(), || {
                "must be set together with `certificate_file`".to_owned()
            })
            .not_empty("server_name", self.server_name.as_deref())
            .range("connections", self.connections, 1..=CONNECTIONS_MAX)
            .range("max_in_flight", self.max_in_flight, 1..=IN_FLIGHT_MAX)
            .range("max_awaited", self.max_awaited, 1..=IN_FLIGHT_MAX)
            .range("max_reply_length", self.max_reply_length, 1_024..=BYTES_MAX)
            .that("connect_timeout", year(self.connect_timeout), bound)
            .that("reply_timeout", year(self.reply_timeout), bound)
            .that("retry_time", self.retry_time <= TIME_MAX, || "must be at most a year".to_owned())
            .done()
    }
}

framework_console::section!(ClientSettings);

impl ClientSettings {
    /// The defaults for one address, or for several separated by commas.
    ///
    /// # Errors
    /// When one of them is no address.
    pub fn for_address(addresses: &str) -> Result<Self, ClientError> {
        let addresses = addresses.parse().map_err(ClientError::Settings)?;
        Ok(Self { address: Some(addresses), ..Self::default() })
    }

    /// The settings of `config/client.toml`, with absolute paths; `address` may be missing.
    ///
    /// # Errors
    /// All mistakes in the file.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        Ok(config.section::<Self>()?.rooted(config))
    }

    fn rooted(mut self, config: &Config) -> Self {
        if let Some(Addresses(addresses)) = self.address {
            let rooted = addresses.into_iter().map(|address| address.rooted(config));
            self.address = Some(Addresses(rooted.collect()));
        }
        for file in [&mut self.ca_file, &mut self.certificate_file, &mut self.key_file] {
            *file = file.take().map(|file| config.path(file));
        }
        self
    }

    /// The same settings without retries: a failure is reported at once, and nothing is sent twice.
    #[must_use]
    pub fn without_retries(self) -> Self {
        Self { retry_time: Duration::ZERO, auto_idempotency_keys: false, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_accepts_the_defaults() {
        assert_eq!(ClientSettings::default().check(), Ok(()));
    }

    #[test]
    fn section_refuses_the_earlier_name_of_a_setting_with_the_present_one() {
        for (old, sentence) in REPLACED {
            let variable = format!("THINK_CLIENT_{}", old.to_uppercase());
            let config = Config::at("/no/project", [(variable.as_str(), "1")]);
            let problem = config.section::<ClientSettings>().unwrap_err().to_string();
            assert_eq!(problem, format!("{variable}: `{old}` is not supported: {sentence}"));
        }
    }

    #[test]
    fn check_names_the_settings_that_do_not_go_together() {
        let settings = ClientSettings {
            address: Some(Addresses(Vec::new())),
            tls: true,
            key_file: Some("key.pem".into()),
            connections: 0,
            retry_time: Duration::MAX,
            ..ClientSettings::default()
        };
        let invalid = settings.check().unwrap_err();
        let keys: Vec<_> = invalid.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["address", "ca_file", "key_file", "connections", "retry_time"]);
    }
}
