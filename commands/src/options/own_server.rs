//! The client's settings, completed by the settings of this project's own server.

use std::path::PathBuf;

use framework::client::{Address, Addresses, ClientSettings, OwnProject};
use framework::config::Config;
use framework::prelude::*;
use framework::server::ServerSettings;

/// The settings of config/client.toml. Without an address, they are for this project's own server: through
/// its control socket, which finds it whatever address it was started with; through its first listener if
/// that cannot be opened, unless another project's server is found there.
///
/// # Errors
/// The problems with config/client.toml or config/server.toml.
pub(crate) fn settings(config: &Config) -> Result<ClientSettings> {
    let settings = ClientSettings::read(config)?;
    if settings.address.is_some() {
        return Ok(settings);
    }
    let server = config.section::<ServerSettings>()?;
    let control_socket = control_socket(config)?;
    let control = control_socket.clone().map(Address::Unix);
    let addresses = control.into_iter().chain([address_of(&server).rooted(config)]).collect();
    let project = OwnProject { root: config.root().to_owned(), control_socket };
    // Both addresses are those of one server.
    let shared_store = true;
    let address = Some(Addresses(addresses));
    Ok(ClientSettings { address, shared_store, project: Some(project), ..settings })
}

/// The settings of config/client.toml for a server at these addresses, which may be another project's. The
/// connection to this project's own control socket is not encrypted.
///
/// # Errors
/// The problems with config/client.toml or config/server.toml.
pub(crate) fn settings_for(config: &Config, addresses: Addresses) -> Result<ClientSettings> {
    let settings = ClientSettings::read(config)?;
    let control = control_socket(config)?.map(Address::Unix);
    let is_control = addresses.0.iter().all(|address| Some(address) == control.as_ref());
    Ok(ClientSettings { tls: settings.tls && !is_control, address: Some(addresses), ..settings })
}

/// The address of the first listener.
pub(crate) fn address_of(settings: &ServerSettings) -> Address {
    let ServerSettings { host, port, .. } = settings;
    match host.strip_prefix("unix:") {
        Some(path) => Address::Unix(path.into()),
        None if host.contains(':') => Address::Tcp(format!("[{host}]:{port}")),
        None => Address::Tcp(format!("{host}:{port}")),
    }
}

/// The path of this project's control socket; `None` if `control_socket` is empty.
///
/// # Errors
/// The problems with config/server.toml.
pub(crate) fn control_socket(config: &Config) -> Result<Option<PathBuf>> {
    let server = config.section::<ServerSettings>()?;
    Ok(server.control_listener().map(|_| config.path(&server.control_socket)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_the_control_socket_first_and_the_project() {
        let read = |variables: &[(&str, &str)]| {
            let settings = super::settings(&Config::at("/srv/app", variables.iter().copied())).unwrap();
            let addresses = settings.address.unwrap().0;
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            (addresses, settings.project.map(|project| project.root))
        };
        let both = ["unix:/srv/app/runtime/server.sock", "127.0.0.1:9501"].map(str::to_owned);
        let root = std::path::PathBuf::from("/srv/app");
        assert_eq!(read(&[]), (both.to_vec(), Some(root)));
        assert_eq!(read(&[("THINK_CLIENT_TOKEN", "0123456789abcdef0123456789")]).0, both);
        assert_eq!(read(&[("THINK_CLIENT_ADDRESS", "a:1")]), (vec!["a:1".to_owned()], None));
    }

    #[test]
    fn settings_for_an_address_keep_the_clients_tls() {
        let variables = [
            ("THINK_SERVER_TOKENS", "0123456789abcdef0123456789:send"),
            ("THINK_CLIENT_TLS", "true"),
            ("THINK_CLIENT_CA_FILE", "config/ca.pem"),
            ("THINK_CLIENT_ADDRESS", "c:3"),
        ];
        let address: Addresses = "a:1,unix:b.sock".parse().unwrap();
        let config = Config::at("/srv/app", variables);
        let settings = settings_for(&config, address.clone()).unwrap();
        assert!(settings.tls && !settings.shared_store, "the server may be another project's");
        assert_eq!(settings.address, Some(address));
        assert_eq!(settings.ca_file.unwrap(), std::path::PathBuf::from("/srv/app/config/ca.pem"));
        let control = "unix:/srv/app/runtime/server.sock".parse().unwrap();
        assert!(!settings_for(&config, control).unwrap().tls, "the control socket is not encrypted");
    }

    #[test]
    fn settings_take_the_address_of_the_server_and_paths_relative_to_the_root() {
        let variables = [
            ("THINK_SERVER_HOST", "::1"),
            ("THINK_SERVER_PORT", "7"),
            ("THINK_CLIENT_CA_FILE", "config/ca.pem"),
        ];
        let settings = super::settings(&Config::at("/srv/app", variables)).unwrap();
        let expected = ["unix:/srv/app/runtime/server.sock", "[::1]:7"];
        assert_eq!(settings.address.unwrap().0, expected.map(|address| address.parse().unwrap()));
        assert_eq!(settings.ca_file.unwrap(), std::path::PathBuf::from("/srv/app/config/ca.pem"));
        let variables = [("THINK_CLIENT_ADDRESS", "unix:run/a.sock,b:2")];
        let settings = super::settings(&Config::at("/srv/app", variables)).unwrap();
        let expected = ["unix:/srv/app/run/a.sock", "b:2"].map(|address| address.parse().unwrap());
        assert_eq!(settings.address.unwrap().0, expected);
    }
}
