//! The address of the server, and the exit codes of a client's errors.

use std::io::ErrorKind;
use std::time::Duration;

use framework::client::{Address, Addresses, Client, ClientError, ClientSettings};
use framework::config::{called, duration};
use framework::prelude::*;
use framework::server::ServerSettings;
use framework::views::ServerStatus;

use super::own_server;

/// The options of every command that connects to a server.
///
/// There is none for a token: every user of the machine can read a command line.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerAddress {
    /// Address of the server; may be repeated for several servers [default: config/client.toml, or this
    /// project's own server]
    ///
    /// Also unix:PATH, or a comma-separated list. A token, if the server requires one, is read from
    /// config/client.toml or THINK_CLIENT_TOKEN, where it does not show up in the process list.
    #[arg(long, alias = "server", value_name = "HOST:PORT", value_delimiter = ',')]
    address: Vec<Address>,
    /// Timeout for connecting, such as 500ms or 5s [default: connect_timeout of config/client.toml]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout)]
    connect_timeout: Option<Duration>,
}

impl ServerAddress {
    /// The first host and port, for a command that opens connections of its own to the server with this
    /// status.
    pub(crate) fn resolve(&self, app: &App, status: &ServerStatus) -> Result<String> {
        let settings = self.settings(app)?;
        let addresses = match settings.project {
            // It may have been started with another port than that of the settings.
            Some(_) => status.addresses.iter().filter_map(|listener| listener.address.parse().ok()).collect(),
            None => settings.address.map(|Addresses(addresses)| addresses).unwrap_or_default(),
        };
        first_tcp(addresses)
    }

    /// The host and port at which other programs reach the server: those that are given, else those of this
    /// project's server, whether it runs or not.
    ///
    /// # Errors
    /// When it has none, but for sockets of Unix.
    pub(crate) async fn network_address(&self, app: &App) -> Result<String> {
        if !self.address.is_empty() {
            return first_tcp(self.address.clone());
        }
        if let Some(client) = self.connect_if_running(app).await? {
            return self.resolve(app, &client.status().await.map_err(exit_error)?);
        }
        let server = app.config()?.section::<ServerSettings>()?;
        let address = first_tcp(vec![own_server::address_of(&server)])?;
        // What listens everywhere is also here.
        Ok(address.replacen("0.0.0.0:", "127.0.0.1:", 1).replacen("[::]:", "127.0.0.1:", 1))
    }

    /// The address for a command that has an address option of its own.
    pub(crate) fn at(address: Option<Address>) -> Self {
        Self { address: address.into_iter().collect(), connect_timeout: None }
    }

    /// Connects; the client reports every failure at once.
    pub(crate) async fn connect(&self, app: &App) -> Result<Client> {
        self.open(self.settings(app)?.without_retries()).await.map_err(exit_error)
    }

    /// Connects; the client later waits up to `retry_time` for a server that goes away, as for a restart.
    pub(crate) async fn connect_for(&self, app: &App, retry_time: Duration) -> Result<Client> {
        let client = self.client_for(app, retry_time)?;
        client.open().await.map_err(exit_error)?;
        Ok(client)
    }

    /// The same client, for a server that is known to be running.
    pub(crate) fn client_for(&self, app: &App, retry_time: Duration) -> Result<Client> {
        Client::new(ClientSettings { retry_time, ..self.settings(app)? }).map_err(exit_error)
    }

    /// Connects, for a command that also works without a server; `None` if none is running.
    pub(crate) async fn connect_if_running(&self, app: &App) -> Result<Option<Client>> {
        match self.open(self.settings(app)?.without_retries()).await {
            Ok(client) => Ok(Some(client)),
            Err(ClientError::NotRunning(_) | ClientError::OtherProject { .. }) => Ok(None),
            // A server that has just stopped resets connections that it did not accept any more.
            Err(ClientError::Unreachable { source, .. }) if source.kind() == ErrorKind::ConnectionReset => {
                Ok(None)
            }
            Err(error) => Err(exit_error(error)),
        }
    }

    fn settings(&self, app: &App) -> Result<ClientSettings> {
        let config = app.config()?;
        let settings = if self.address.is_empty() {
            own_server::settings(config)?
        } else {
            own_server::settings_for(config, Addresses(self.address.clone()))?
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

fn first_tcp(addresses: Vec<Address>) -> Result<String> {
    let tcp = |address| match address {
        Address::Tcp(address) => Some(address),
        Address::Unix(_) => None,
    };
    addresses.into_iter().find_map(tcp).ok_or_else(|| {
        Exit::Usage.error("this needs an address such as 127.0.0.1:9501: give one with --address")
    })
}

/// The address that clients of this server use.
pub(crate) fn address_of(settings: &ServerSettings) -> String {
    own_server::address_of(settings).to_string()
}

/// The error of a client with the exit code that belongs to it.
pub(crate) fn exit_error(error: ClientError) -> anyhow::Error {
    match &error {
        ClientError::NotRunning(_) => {
            Exit::NotRunning.error(format!("{error}; start one with: {} task:start", called()))
        }
        ClientError::LineEnd => Exit::Usage.error(error.to_string()),
        ClientError::OtherProject { .. } => Exit::NotRunning.error(error.to_string()),
        ClientError::Unreachable { source, .. } => Exit::NotRunning.error(format!("{error}: {source}")),
        ClientError::Refused(refusal) => Exit::Refused.error_with(refusal.to_string(), refusal),
        _ => error.into(),
    }
}

/// Parses `90s`, `10m` or `1h 30m`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || "write seconds, or a time with a unit such as 500ms, 90s or 1h 30m".to_owned();
    duration::parse(text).ok_or_else(invalid)
}

/// Parses a timeout for connecting.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let timeout = parse_duration(text)?;
    if timeout.is_zero() || timeout > MAX {
        return Err("it must be more than 0 and at most a year".to_owned());
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_timeout_refuses_no_time_and_an_endless_one() {
        assert_eq!(parse_timeout("1s"), Ok(Duration::from_secs(1)));
        for wrong in ["0", "0s", "2y", "1e300", "soon", ""] {
            assert!(parse_timeout(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parse_duration_takes_a_bare_number_for_seconds() {
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(parse_duration("-1").is_err());
        assert!(parse_duration("soon").is_err());
    }
}
