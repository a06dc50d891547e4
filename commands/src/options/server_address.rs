//! Where the server is, and how a client's failure ends a command.

use std::time::Duration;

use framework::client::{Address, Addresses, Client, ClientError, ClientSettings};
use framework::prelude::*;
use framework::server::ServerSettings;

use super::own_server;

/// The option of every command that talks to a server.
///
/// There is none for a token: everybody on the machine can read a command line.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerAddress {
    /// Where the server listens; given again, where else [default: config/client.toml, or host and port of
    /// config/server.toml]
    ///
    /// Also unix:PATH, or several between commas. The token for a server that asks for one comes from
    /// config/client.toml or THINK_CLIENT_TOKEN, where no list of processes shows it.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    address: Vec<Address>,
    /// How long to wait for the connection, such as 500ms or 5s [default: connect_timeout of config/client.toml]
    #[arg(long, value_name = "TIME", value_parser = parse_patience)]
    connect_timeout: Option<Duration>,
}

impl ServerAddress {
    /// The first host and port, for what has connections of its own.
    pub(crate) fn resolve(&self, app: &App) -> Result<String> {
        let addresses = self.settings(app)?.address.map(|Addresses(addresses)| addresses);
        let tcp = |address| match address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        };
        match addresses.and_then(|addresses| addresses.into_iter().find_map(tcp)) {
            Some(address) => Ok(address),
            None => {
                Err(Exit::Usage
                    .error("this needs an address such as 127.0.0.1:9501: give one with --address"))
            }
        }
    }

    /// For a command that has an address option of its own.
    pub(crate) fn at(address: Option<Address>) -> Self {
        Self { address: address.into_iter().collect(), connect_timeout: None }
    }

    /// A client that tells every failure at once.
    pub(crate) async fn connect(&self, app: &App) -> Result<Client> {
        self.open(self.settings(app)?.without_retries()).await.map_err(exit_error)
    }

    /// A client that waits so long for a server that was there and has gone away, as for a restart.
    pub(crate) async fn connect_for(&self, app: &App, retry_time: Duration) -> Result<Client> {
        let client = self.client_for(app, retry_time)?;
        client.open().await.map_err(exit_error)?;
        Ok(client)
    }

    /// The same, for a server that was there just now.
    pub(crate) fn client_for(&self, app: &App, retry_time: Duration) -> Result<Client> {
        Client::new(ClientSettings { retry_time, ..self.settings(app)? }).map_err(exit_error)
    }

    /// A client that tells every failure at once, for what can do without a server.
    pub(crate) async fn connect_if_running(&self, app: &App) -> Result<Option<Client>> {
        match self.open(self.settings(app)?.without_retries()).await {
            Ok(client) => Ok(Some(client)),
            Err(ClientError::NotRunning(_)) => Ok(None),
            Err(error) => Err(exit_error(error)),
        }
    }
}

impl ServerAddress {
    fn settings(&self, app: &App) -> Result<ClientSettings> {
        let config = app.config()?;
        let settings = match self.address.is_empty() {
            true => own_server::settings(config)?,
            false => own_server::settings_for(config, Addresses(self.address.clone()))?,
        };
        let connect_timeout = self.connect_timeout.unwrap_or(settings.connect_timeout);
        Ok(ClientSettings { connections: 1, connect_timeout, ..settings })
    }

    async fn open(&self, settings: ClientSettings) -> Result<Client, ClientError> {
        let client = Client::new(settings)?;
        client.open().await?;
        Ok(client)
    }
}

/// The address that clients of this server use.
pub(crate) fn address_of(settings: &ServerSettings) -> String {
    own_server::address_of(settings).to_string()
}

/// The exit code that belongs to a client's failure.
pub(crate) fn exit_error(error: ClientError) -> anyhow::Error {
    match &error {
        ClientError::NotRunning(_) => {
            Exit::NotRunning.error(format!("{error}; start one with: ./think task:start"))
        }
        ClientError::Unreachable { source, .. } => Exit::NotRunning.error(format!("{error}: {source}")),
        ClientError::Refused(refusal) => Exit::Refused.error(refusal.to_string()),
        _ => error.into(),
    }
}

/// Reads `90s`, `10m` or `1h 30m`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let written = || framework::humantime::parse_duration(text).map_err(|error| error.to_string());
    let known = |error| format!("{error}; write seconds, or a time such as 500ms, 90s or 1h 30m");
    seconds.map_or_else(|| written().map_err(known), Ok)
}

/// Reads how long to wait for a connection.
fn parse_patience(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    match parse_duration(text)? {
        time if time.is_zero() || time > MAX => {
            Err("it must be more than nothing and at most a year".to_owned())
        }
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_connection_for_no_time_or_for_ever() {
        assert_eq!(parse_patience("1s"), Ok(Duration::from_secs(1)));
        for wrong in ["0", "0s", "2y", "1e300", "soon", ""] {
            assert!(parse_patience(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(parse_duration("-1").is_err());
        assert!(parse_duration("soon").is_err());
    }
}
