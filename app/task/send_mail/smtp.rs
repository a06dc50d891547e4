//! Sends mails to a mail server, over connections that are reused.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use framework::config::Config;
use framework::prelude::*;
use framework::task::no_retry;
use lettre::Message;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::settings::{MailSettings, Tls};

/// A mail server, and the idle connections to it.
///
/// This is not lettre's own pool, which keeps connections whose sending was interrupted by a timeout, after
/// which every reply would be taken for that of the previous mail, and which does not limit the number of
/// connections.
pub(super) struct Smtp {
    server: (String, u16),
    tls: Option<(Tls, TlsParameters)>,
    credentials: Option<Credentials>,
    hello: ClientId,
    connect_timeout: Duration,
    /// One permit per connection.
    permits: Semaphore,
    idle: Mutex<Vec<AsyncSmtpConnection>>,
}

impl Smtp {
    /// The mail server of the settings; connects later.
    ///
    /// # Errors
    /// When `ca_file` is not a certificate, or `host` is not a name that a certificate can have.
    pub(super) fn new(config: &Config, settings: &MailSettings) -> Result<Self> {
        let MailSettings { host, tls, .. } = settings;
        let password = settings.password.reveal();
        let credentials = settings.user.clone().map(|user| Credentials::new(user, password.into()));
        let tls = match tls {
            Tls::None => None,
            tls => Some((*tls, tls_parameters(config, settings)?)),
        };
        Ok(Self {
            server: (host.clone(), settings.port()),
            tls,
            credentials,
            hello: ClientId::default(),
            connect_timeout: settings.connect_timeout,
            permits: Semaphore::new(settings.pool_size.get()),
            idle: Mutex::default(),
        })
    }

    /// Sends one mail, and returns the server's reply.
    ///
    /// # Errors
    /// An error that is not retried if the server refused this mail permanently (5xx). A failed connection or
    /// login does not depend on the mail, and is retried.
    pub(super) async fn send(&self, mail: &Message) -> Result<String> {
        let _permit = self.permits.acquire().await?;
        let mut connection = match self.idle_connection().await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let response = connection.send(mail.envelope(), &mail.formatted()).await.map_err(classify)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        let text: Vec<_> = response.message().collect();
        Ok(format!("{} {}", response.code(), text.join(" ")))
    }

    /// An idle connection that still works; others are closed.
    async fn idle_connection(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let mut connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if let Ok(true) = timeout(self.connect_timeout, connection.test_connected()).await {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection> {
        let (host, port) = &self.server;
        let connected = timeout(self.connect_timeout, self.login()).await;
        let late = |_| Err(anyhow!("no answer within {:?}", self.connect_timeout));
        connected.unwrap_or_else(late).with_context(|| format!("connecting to the mail server {host}:{port}"))
    }

    async fn login(&self) -> Result<AsyncSmtpConnection> {
        let mut connection = self.open().await?;
        if let Some((Tls::Upgrade, parameters)) = &self.tls {
            connection.starttls(parameters.clone(), &self.hello).await.map_err(plain_error)?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(plain_error)?;
        }
        Ok(connection)
    }

    async fn open(&self) -> Result<AsyncSmtpConnection> {
        let server = (self.server.0.as_str(), self.server.1);
        if let Some((Tls::Implicit, parameters)) = &self.tls {
            let parameters = Some(parameters.clone());
            let connected = AsyncSmtpConnection::connect_tokio1(server, None, &self.hello, parameters, None);
            return connected.await.map_err(plain_error);
        }
        let stream = TcpStream::connect(server).await?;
        // lettre writes the end of a mail separately: with Nagle's algorithm it would be delayed by 40 ms.
        stream.set_nodelay(true)?;
        AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await.map_err(plain_error)
    }
}

fn tls_parameters(config: &Config, settings: &MailSettings) -> Result<TlsParameters> {
    let parameters = TlsParameters::builder(settings.host.clone());
    let Some(file) = &settings.ca_file else { return Ok(parameters.build_rustls()?) };
    let file = config.path(file);
    let certificate = fs::read(&file).with_context(|| format!("reading ca_file {}", file.display()))?;
    let certificate = Certificate::from_pem(&certificate)
        .with_context(|| format!("ca_file {} is not a certificate in PEM", file.display()))?;
    Ok(parameters.add_root_certificate(certificate).build_rustls()?)
}

/// The error of a mail, marked if it must not be retried.
fn classify(error: Error) -> anyhow::Error {
    // "client": this mail cannot be sent to this server at all, such as one to an address in a script it
    // cannot read.
    if error.is_permanent() || error.is_client() { no_retry(plain_error(error)) } else { plain_error(error) }
}

/// The error without its causes, which lettre repeats in its text.
fn plain_error(error: Error) -> anyhow::Error {
    anyhow!("{error}")
}
