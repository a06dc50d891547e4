//! Where the server is, and how a client's failure ends a command.

use std::time::Duration;

use framework::client::{Client, ClientError};
use framework::prelude::*;
use framework::server::ServerSettings;

/// The option of every command that talks to a server.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerAddress {
    /// Where the server listens [default: host and port of config/server.toml]
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// How long to wait for the connection, such as 500ms or 5s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
}

impl ServerAddress {
    pub(crate) fn resolve(&self, app: &App) -> Result<String> {
        match &self.address {
            Some(address) => Ok(address.clone()),
            None => Ok(address_of(&app.config()?.section()?)),
        }
    }

    /// Of a command whose own --timeout is another.
    pub(crate) fn at(address: Option<String>) -> Self {
        Self { address, timeout: Duration::from_secs(5) }
    }

    pub(crate) async fn connect(&self, app: &App) -> Result<Client> {
        Client::connect(self.resolve(app)?, self.timeout).await.map_err(ended)
    }

    /// Likewise, for what can do without a server.
    pub(crate) async fn connect_if_running(&self, app: &App) -> Result<Option<Client>> {
        match Client::connect(self.resolve(app)?, self.timeout).await {
            Ok(client) => Ok(Some(client)),
            Err(ClientError::NotRunning(_)) => Ok(None),
            Err(error) => Err(ended(error)),
        }
    }
}

/// The address that clients of this server use.
pub(crate) fn address_of(settings: &ServerSettings) -> String {
    match settings.host.contains(':') {
        true => format!("[{}]:{}", settings.host, settings.port),
        false => format!("{}:{}", settings.host, settings.port),
    }
}

/// The exit code that belongs to a client's failure.
pub(crate) fn ended(error: ClientError) -> anyhow::Error {
    match &error {
        ClientError::NotRunning(_) => {
            Exit::NotRunning.because(format!("{error}; start one with: ./think task:start"))
        }
        ClientError::Refused(refusal) => Exit::Refused.because(refusal.to_string()),
        ClientError::Io { .. } | ClientError::Foreign { .. } => error.into(),
    }
}

/// Reads `90s`, `10m` or `1h 30m`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.map_or_else(|| framework::humantime::parse_duration(text).map_err(|error| error.to_string()), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(parse_duration("-1").is_err());
        assert!(parse_duration("soon").is_err());
    }
}
