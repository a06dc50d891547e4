//! The section `client`: where the server is, how to get in, and how long to try.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::{Address, Addresses};
use crate::config::{Config, Invalid, Secret, Section, Validator, duration, size};
use crate::server::{Protocol, ServerSettings};

/// Where the server is, how to get in, and how long to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientSettings {
    /// Where the server is; of several, the next one counts when one cannot be reached. `None`: the host and the
    /// port of the section `server`.
    pub address: Option<Addresses>,
    /// Whether all addresses lead to the same tasks, because they are one server's or these share a store. Otherwise
    /// a request that one server may have accepted is not sent to another.
    pub shared_store: bool,
    /// Sent first on every connection, if there is one.
    pub token: Secret,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The certificates that the server's is to be signed by, or the server's own, in PEM form; needed with `tls`, for
    /// the authorities of the system are not trusted. A relative path starts at the project's root.
    pub ca_file: Option<PathBuf>,
    /// This client's own certificate, for a server that asks for one, and its key; in PEM form.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    /// Which name the server's certificate is to have, if not that of the address.
    pub server_name: Option<String>,

    /// How many connections there are at most; a further one is opened only when those there are have much to do.
    pub connections: usize,
    /// Requests of one connection without an answer; further ones wait.
    pub max_in_flight: usize,
    /// Ends of tasks awaited on one connection, those that nobody waits for any more included; further ones wait. A
    /// server stops reading from a connection that awaits as many as its own `max_in_flight`: stay below that.
    pub max_awaited: usize,
    /// The longest answer, in bytes.
    #[serde(with = "size")]
    pub max_reply_length: usize,
    /// How long connecting, encrypting and showing the token may take, for one address; also how long a server may be
    /// silent before it is left by who asks for no answer ([`super::Client::hand_over`]).
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// How long a server that owes an answer may be silent before the connection is given up.
    #[serde(with = "duration")]
    pub reply_timeout: Duration,
    /// How long a request is tried again while no server can be reached; also how long a wait for an end goes on after
    /// its connection is lost. Zero: not at all.
    #[serde(with = "duration")]
    pub retry_time: Duration,
    /// Whether a task that is sent without a key gets one of its own, so that it can be sent again without running
    /// twice; as long as the server remembers it (its `idempotency_window`).
    pub auto_idempotency_keys: bool,
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
        }
    }
}

/// Numbers beyond these are mistakes.
const CONNECTIONS_MAX: usize = 1_000;
const IN_FLIGHT_MAX: usize = 1_000_000;
const BYTES_MAX: usize = 1 << 30;
/// A year.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Section for ClientSettings {
    const NAME: &'static str = "client";

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

crate::section!(ClientSettings);

impl ClientSettings {
    /// The defaults, for one address or for several between commas.
    ///
    /// # Errors
    /// When one of them is no address.
    pub fn for_address(addresses: &str) -> Result<Self, super::ClientError> {
        let addresses = addresses.parse().map_err(super::ClientError::Settings)?;
        Ok(Self { address: Some(addresses), ..Self::default() })
    }

    /// What config/client.toml says, completed by what config/server.toml knows; all paths are complete then.
    ///
    /// # Errors
    /// All that is wrong with either of them.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let mut settings = config.section::<Self>()?;
        if settings.address.is_none() {
            settings = settings.completed(&config.section()?);
        }
        Ok(settings.rooted(config))
    }

    /// What config/client.toml says, for a server at these addresses, which need not be this project's own. If it is, by
    /// its control socket, nothing is encrypted.
    ///
    /// # Errors
    /// All that is wrong with either of them.
    pub fn read_for(config: &Config, addresses: Addresses) -> anyhow::Result<Self> {
        let settings = config.section::<Self>()?.rooted(config);
        let control = control_socket(&config.section()?).map(|address| address.rooted(config.root()));
        let is_control = addresses.0.iter().all(|address| Some(address) == control.as_ref());
        Ok(Self { tls: settings.tls && !is_control, address: Some(addresses), ..settings })
    }

    /// What a server of the same project knows, so that its client need not be told: where it is, and that there is a
    /// socket for who may do everything anyway, where others would have to show who they are.
    fn completed(mut self, server: &ServerSettings) -> Self {
        let first = server.first_listener();
        let is_closed = server.wants_token(&first) && self.token.is_empty()
            || first.speaks_tls_only() && !self.tls
            || !first.protocols.contains(&Protocol::Lines);
        let control = control_socket(server).filter(|_| is_closed);
        if control.is_some() {
            (self.tls, self.shared_store) = (false, true);
        }
        self.address = Some(Addresses(control.into_iter().chain([Address::of(server)]).collect()));
        self
    }

    fn rooted(mut self, config: &Config) -> Self {
        if let Some(Addresses(addresses)) = self.address {
            let rooted = addresses.into_iter().map(|address| address.rooted(config.root()));
            self.address = Some(Addresses(rooted.collect()));
        }
        for file in [&mut self.ca_file, &mut self.certificate_file, &mut self.key_file] {
            *file = file.take().map(|file| config.root().join(file));
        }
        self
    }

    /// For a request now or never: a failure is told at once, and nothing is sent twice.
    #[must_use]
    pub fn without_retries(self) -> Self {
        Self { retry_time: Duration::ZERO, auto_idempotency_keys: false, ..self }
    }
}

fn control_socket(server: &ServerSettings) -> Option<Address> {
    server.control_listener()?.host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        assert_eq!(ClientSettings::default().check(), Ok(()));
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        let settings = ClientSettings {
            address: Some(Addresses(Vec::new())),
            tls: true,
            key_file: Some("key.pem".into()),
            connections: 0,
            retry_time: Duration::MAX,
            ..ClientSettings::default()
        };
        let told = settings.check().unwrap_err();
        let keys: Vec<_> = told.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["address", "ca_file", "key_file", "connections", "retry_time"]);
    }

    #[test]
    fn where_strangers_need_a_token_the_projects_own_clients_come_in_by_the_control_socket() {
        let read = |variables: &[(&str, &str)]| {
            let settings = ClientSettings::read(&Config::at("/srv/app", variables.iter().copied())).unwrap();
            settings.address.unwrap().0.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let both = ["unix:/srv/app/runtime/server.sock", "127.0.0.1:9501"];
        let tokens = ("THINK_SERVER_TOKENS", "open-sesame-and-let-me-in:send");
        assert_eq!(read(&[tokens]), both);
        assert_eq!(read(&[("THINK_SERVER_PROTOCOLS", "[\"http\"]")]), both);
        assert_eq!(read(&[tokens, ("THINK_CLIENT_TOKEN", "open-sesame-and-let-me-in")]), both[1..]);
        assert_eq!(read(&[]), both[1..]);
    }

    #[test]
    fn a_server_at_an_address_of_its_own_is_met_as_the_settings_say() {
        let variables = [
            ("THINK_SERVER_TOKENS", "open-sesame-and-let-me-in:send"),
            ("THINK_CLIENT_TLS", "true"),
            ("THINK_CLIENT_CA_FILE", "config/ca.pem"),
            ("THINK_CLIENT_ADDRESS", "c:3"),
        ];
        let address: Addresses = "a:1,unix:b.sock".parse().unwrap();
        let config = Config::at("/srv/app", variables);
        let settings = ClientSettings::read_for(&config, address.clone()).unwrap();
        assert!(settings.tls && !settings.shared_store, "nothing is known of the server there");
        assert_eq!(settings.address, Some(address));
        assert_eq!(settings.ca_file.unwrap(), PathBuf::from("/srv/app/config/ca.pem"));
        let control = "unix:/srv/app/runtime/server.sock".parse().unwrap();
        assert!(
            !ClientSettings::read_for(&config, control).unwrap().tls,
            "its server encrypts nothing there"
        );
    }

    #[test]
    fn what_is_not_said_comes_from_the_server_and_paths_start_at_the_root() {
        let variables = [
            ("THINK_SERVER_HOST", "::1"),
            ("THINK_SERVER_PORT", "7"),
            ("THINK_CLIENT_CA_FILE", "config/ca.pem"),
        ];
        let settings = ClientSettings::read(&Config::at("/srv/app", variables)).unwrap();
        assert_eq!(settings.address.unwrap().0, ["[::1]:7".parse().unwrap()]);
        assert_eq!(settings.ca_file.unwrap(), PathBuf::from("/srv/app/config/ca.pem"));
        let variables = [("THINK_CLIENT_ADDRESS", "unix:run/a.sock,b:2")];
        let settings = ClientSettings::read(&Config::at("/srv/app", variables)).unwrap();
        let expected = ["unix:/srv/app/run/a.sock", "b:2"].map(|address| address.parse().unwrap());
        assert_eq!(settings.address.unwrap().0, expected);
    }
}
