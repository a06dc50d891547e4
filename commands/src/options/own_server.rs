//! The client's settings, completed by the settings of this project's own server.

use framework::client::{Address, Addresses, ClientSettings};
use framework::config::Config;
use framework::prelude::*;
use framework::server::ServerSettings;
use framework::views::Protocol;

/// The settings of config/client.toml. Without an address, they are for this project's own server, through
/// its control socket if the first listener requires a token, TLS or a protocol that the client does not
/// have.
///
/// # Errors
/// The problems with config/client.toml or config/server.toml.
pub(crate) fn settings(config: &Config) -> Result<ClientSettings> {
    let settings = ClientSettings::read(config)?;
    if settings.address.is_some() {
        return Ok(settings);
    }
    let server = config.section::<ServerSettings>()?;
    let first = server.first_listener();
    let is_closed = server.wants_token(&first) && settings.token.is_empty()
        || first.speaks_tls_only() && !settings.tls
        || !first.protocols.contains(&Protocol::Lines);
    let control = control_socket(&server).filter(|_| is_closed);
    let (tls, shared_store) =
        if control.is_some() { (false, true) } else { (settings.tls, settings.shared_store) };
    let addresses = control.into_iter().chain([address_of(&server)]);
    let addresses = addresses.map(|address| address.rooted(config.root())).collect();
    Ok(ClientSettings { address: Some(Addresses(addresses)), tls, shared_store, ..settings })
}

/// The settings of config/client.toml for a server at these addresses, which may be another project's. The
/// connection to this project's own control socket is not encrypted.
///
/// # Errors
/// The problems with config/client.toml or config/server.toml.
pub(crate) fn settings_for(config: &Config, addresses: Addresses) -> Result<ClientSettings> {
    let settings = ClientSettings::read(config)?;
    let control = control_socket(&config.section()?).map(|address| address.rooted(config.root()));
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

fn control_socket(server: &ServerSettings) -> Option<Address> {
    server.control_listener()?.host.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_use_the_control_socket_if_the_first_listener_is_restricted() {
        let read = |variables: &[(&str, &str)]| {
            let settings = super::settings(&Config::at("/srv/app", variables.iter().copied())).unwrap();
            settings.address.unwrap().0.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let both = ["unix:/srv/app/runtime/server.sock", "127.0.0.1:9501"];
        let tokens = ("THINK_SERVER_TOKENS", "0123456789abcdef0123456789:send");
        assert_eq!(read(&[tokens]), both);
        assert_eq!(read(&[("THINK_SERVER_PROTOCOLS", "[\"http\"]")]), both);
        assert_eq!(read(&[tokens, ("THINK_CLIENT_TOKEN", "0123456789abcdef0123456789")]), both[1..]);
        assert_eq!(read(&[]), both[1..]);
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
        assert_eq!(settings.address.unwrap().0, ["[::1]:7".parse().unwrap()]);
        assert_eq!(settings.ca_file.unwrap(), std::path::PathBuf::from("/srv/app/config/ca.pem"));
        let variables = [("THINK_CLIENT_ADDRESS", "unix:run/a.sock,b:2")];
        let settings = super::settings(&Config::at("/srv/app", variables)).unwrap();
        let expected = ["unix:/srv/app/run/a.sock", "b:2"].map(|address| address.parse().unwrap());
        assert_eq!(settings.address.unwrap().0, expected);
    }
}
