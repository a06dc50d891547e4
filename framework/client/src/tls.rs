//! Encrypts connections and verifies the server's certificate.

use std::path::Path;
use std::sync::Arc;

use framework_console::files;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::address::Address;
use crate::error::{ClientError, Result};
use crate::settings::ClientSettings;

/// The TLS configuration of all connections.
pub(crate) struct Tls {
    connector: TlsConnector,
    /// The name that the server's certificate must have, if not that of the address.
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the certificates; `None` when connections are not encrypted.
    ///
    /// # Errors
    /// When a file cannot be read, or holds no certificate or key.
    pub(crate) fn read(settings: &ClientSettings) -> Result<Option<Self>> {
        if !settings.tls {
            return Ok(None);
        }
        let Some(ca_file) = &settings.ca_file else {
            let what = "tls = true needs ca_file: the certificate that the server's is signed by, or its own";
            return Err(ClientError::Settings(what.to_owned()));
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca_file", ca_file)? {
            roots.add(certificate).map_err(|error| unusable("ca_file", ca_file, error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Settings(error.to_string()))?
            .with_root_certificates(roots);
        let config = match (&settings.certificate_file, &settings.key_file) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("certificate_file", certificate)?;
                let secret = files::read_secret(key).map_err(|error| unusable("key_file", key, error))?;
                let secret = PrivateKeyDer::from_pem_slice(&secret);
                let secret = secret.map_err(|error| unusable("key_file", key, error))?;
                let configured = builder.with_client_auth_cert(chain, secret);
                configured.map_err(|error| unusable("key_file", key, error))?
            }
            _ => builder.with_no_client_auth(),
        };
        let name = settings.server_name.as_deref().map(name).transpose()?;
        Ok(Some(Self { connector: TlsConnector::from(Arc::new(config)), name }))
    }

    /// Encrypts a stream.
    ///
    /// # Errors
    /// When the server does not speak TLS, or has no certificate that is trusted.
    pub(crate) async fn wrap<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        address: &Address,
    ) -> Result<TlsStream<S>> {
        let name = self.name.clone().map_or_else(|| name(address.host()), Ok)?;
        self.connector.connect(name, stream).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidMessage(_)) => ClientError::NotTls(address.to_string()),
                Some(rustls::Error::InvalidCertificate(why)) => ClientError::Settings(format!(
                    "the certificate of the server on {address} is not trusted ({why:?}): \
                     check ca_file and server_name in config/client.toml"
                )),
                _ => ClientError::io(&address.to_string(), error),
            }
        })
    }
}

fn name(text: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(text.to_owned()).map_err(|_| {
        ClientError::Settings(format!("{text:?} is no name that a certificate can have: set server_name"))
    })
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(file)?.collect::<std::result::Result<Vec<_>, _>>();
    match read() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(unusable(key, file, "it holds no certificate in PEM form")),
        Err(error) => Err(unusable(key, file, error)),
    }
}

fn unusable(key: &str, file: &Path, error: impl std::fmt::Display) -> ClientError {
    ClientError::Settings(format!("{key} {} cannot be used: {error}", file.display()))
}
