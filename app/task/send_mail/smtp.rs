//! Hands mails to a mail server, over connections that are kept for the next ones.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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

/// A mail server, and the connections to it that wait for the next mail.
///
/// Not lettre's own pool: that one keeps connections whose sending was cut short by a timeout, after which every
/// answer would be taken for that of the mail before, and it opens as many as are asked for.
pub(super) struct Smtp {
    server: (String, u16),
    tls: Option<(Tls, TlsParameters)>,
    credentials: Option<Credentials>,
    hello: ClientId,
    connect_timeout: Duration,
    /// As many connections as there may be at once.
    permits: Semaphore,
    idle: Mutex<Vec<AsyncSmtpConnection>>,
}

impl Smtp {
    /// # Errors
    /// When `ca_file` is no certificate, or `host` is no name that a certificate can be for.
    pub(super) fn new(root: &Path, settings: &MailSettings) -> Result<Self> {
        let MailSettings { host, tls, .. } = settings;
        let password = settings.password.reveal();
        let credentials = settings.user.clone().map(|user| Credentials::new(user, password.into()));
        let tls = match tls {
            Tls::None => None,
            tls => Some((*tls, trusting(root, settings)?)),
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

    /// Hands over one mail, and returns the server's answer.
    ///
    /// # Errors
    /// One that is not retried if the server refused this mail for good (5xx). That it cannot be reached, or does
    /// not let us in, says nothing about the mail and is retried.
    pub(super) async fn send(&self, mail: &Message) -> Result<String> {
        let _permit = self.permits.acquire().await?;
        let mut connection = match self.waiting().await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let response = connection.send(mail.envelope(), &mail.formatted()).await.map_err(advised)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        let text: Vec<_> = response.message().collect();
        Ok(format!("{} {}", response.code(), text.join(" ")))
    }

    /// A connection that still answers; those that do not are let go.
    async fn waiting(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let mut connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if let Ok(true) = timeout(self.connect_timeout, connection.test_connected()).await {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection> {
        let (host, port) = &self.server;
        let connected = timeout(self.connect_timeout, self.introduce()).await;
        let late = |_| Err(anyhow!("no answer within {:?}", self.connect_timeout));
        connected.unwrap_or_else(late).with_context(|| format!("connecting to the mail server {host}:{port}"))
    }

    async fn introduce(&self) -> Result<AsyncSmtpConnection> {
        let mut connection = self.greet().await?;
        if let Some((Tls::Upgrade, parameters)) = &self.tls {
            connection.starttls(parameters.clone(), &self.hello).await.map_err(said)?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(said)?;
        }
        Ok(connection)
    }

    async fn greet(&self) -> Result<AsyncSmtpConnection> {
        let server = (self.server.0.as_str(), self.server.1);
        if let Some((Tls::Implicit, parameters)) = &self.tls {
            let parameters = Some(parameters.clone());
            let connected = AsyncSmtpConnection::connect_tokio1(server, None, &self.hello, parameters, None);
            return connected.await.map_err(said);
        }
        let stream = TcpStream::connect(server).await?;
        // lettre writes the end of a mail by itself; without this it would wait 40 ms for the mail's acknowledgement.
        stream.set_nodelay(true)?;
        AsyncSmtpConnection::connect_with_transport(Box::new(stream), &self.hello).await.map_err(said)
    }
}

fn trusting(root: &Path, settings: &MailSettings) -> Result<TlsParameters> {
    let parameters = TlsParameters::builder(settings.host.clone());
    let Some(file) = &settings.ca_file else { return Ok(parameters.build_rustls()?) };
    let file = root.join(file);
    let certificate = fs::read(&file).with_context(|| format!("reading ca_file {}", file.display()))?;
    let certificate = Certificate::from_pem(&certificate)
        .with_context(|| format!("ca_file {} is no certificate in PEM form", file.display()))?;
    Ok(parameters.add_root_certificate(certificate).build_rustls()?)
}

/// What the server said of a mail, and whether to ask again.
fn advised(error: Error) -> anyhow::Error {
    // "client": this mail cannot be sent to this server at all, such as one to an address in a script it cannot read.
    if error.is_permanent() || error.is_client() { no_retry(said(error)) } else { said(error) }
}

/// lettre's errors repeat their causes in their own text; these do not.
fn said(error: Error) -> anyhow::Error {
    anyhow!("{error}")
}
