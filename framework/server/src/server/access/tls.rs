//! The TLS acceptor of a listener, from certificate files that may change while the server runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use framework_console::config::Config;
use framework_console::files;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{ConfigBuilder, RootCertStore, WantsVerifier, crypto};
use tokio_rustls::TlsAcceptor;

use crate::server::reloadable::Reloadable;
use crate::server::settings::ListenerSettings;

/// The TLS acceptor of one listener.
pub(crate) struct Tls(Reloadable<TlsAcceptor>);

/// The paths of the PEM files.
struct Files {
    certificates: PathBuf,
    key: PathBuf,
    /// The authorities that sign the certificates of clients.
    authorities: Option<PathBuf>,
}

impl Tls {
    /// Reads the files of the listener; `None` when it has no certificate.
    ///
    /// # Errors
    /// A file cannot be read, holds nothing of use, or the key does not belong to the certificate.
    pub(super) fn open(listener: &ListenerSettings, config: &Config) -> Result<Option<Self>> {
        let path = |file: &Option<PathBuf>| file.as_ref().map(|file| config.path(file));
        let (Some(certificates), Some(key)) = (path(&listener.ssl_cert_file), path(&listener.ssl_key_file))
        else {
            return Ok(None);
        };
        let files = Files { certificates, key, authorities: path(&listener.ssl_client_cert_file) };
        let paths = files.all();
        Reloadable::open("ssl_cert_file", paths, move || files.read()).map(Self).map(Some)
    }

    /// The acceptor with the certificate that the files hold now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::clone(&self.0.current())
    }

    /// Checks the files for changes at once, not only at the next interval.
    pub(super) fn reload(&self) {
        self.0.reload();
    }
}

impl Files {
    fn all(&self) -> Vec<PathBuf> {
        [&self.certificates, &self.key].into_iter().chain(&self.authorities).cloned().collect()
    }

    fn read(&self) -> Result<TlsAcceptor> {
        let secret = files::read_secret(&self.key).context("ssl_key_file")?;
        let key = PrivateKeyDer::from_pem_slice(&secret)
            .with_context(|| format!("ssl_key_file {}: no private key can be read", self.key.display()))?;
        let certificates = certificates("ssl_cert_file", &self.certificates)?;
        let mismatch = || {
            let (certificate, key) = (self.certificates.display(), self.key.display());
            format!("ssl_cert_file {certificate} and ssl_key_file {key} do not fit together")
        };
        let builder = builder()?;
        let builder = match &self.authorities {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for authority in self::certificates("ssl_client_cert_file", file)? {
                    roots
                        .add(authority)
                        .with_context(|| format!("ssl_client_cert_file {}", file.display()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), provider()).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(certificates, key).with_context(mismatch)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn provider() -> Arc<crypto::CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>> {
    let builder = ServerConfig::builder_with_provider(provider());
    builder.with_safe_default_protocol_versions().context("TLS 1.2 and 1.3")
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let reading = || format!("{setting} {}: no certificate can be read", file.display());
    let text = files::read_text(file).with_context(reading)?;
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes());
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().with_context(reading)?;
    ensure!(!certificates.is_empty(), "{setting} {}: holds no certificate", file.display());
    Ok(certificates)
}
