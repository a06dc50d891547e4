//! Clients within TLS.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use super::certificates::{Authority, Identity};
use super::client::tcp;

pub(crate) type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// Connects with trust in this authority, and perhaps an identity of its own.
pub(crate) fn connect(address: &str, authority: &Authority, identity: Option<&Identity>) -> Encrypted {
    StreamOwned::new(connection(authority, identity), tcp(address))
}

/// The TLS side of a connection to a server whose certificate is for `localhost`.
pub(crate) fn connection(authority: &Authority, identity: Option<&Identity>) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let (certificate, key) = identity.parts();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap()
}
