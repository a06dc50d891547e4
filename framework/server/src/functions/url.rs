//! A function that is a URL: the arguments of each attempt are sent to it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use framework_console::config::Config;
use framework_protocol::task::{Attempt, Failure, Outcome, Retry, now_ms};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::addresses::is_public;
use super::result::{done, quote};
use super::settings::FunctionEntry;
use super::signature::SigningKey;
use crate::server::ServerSettings;

/// The time for one connection, with TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest pause that a server may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The part of an error's body that is read, in bytes.
const ERROR_MAX: usize = 4096;

/// A URL, and how requests to it are made.
pub(super) struct UrlTarget {
    shown: String,
    host: String,
    port: u16,
    /// The path with the query.
    path: String,
    /// The value of `Host`.
    authority: String,
    /// `None` for plain text.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    key: Option<SigningKey>,
    allow_private: bool,
    /// The longest result, in bytes.
    result_max: usize,
}

trait HttpStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> HttpStream for S {}

impl UrlTarget {
    /// # Errors
    /// The rest of a sentence that begins with the name of the function.
    pub(super) fn new(
        url: &str,
        entry: &FunctionEntry,
        config: &Config,
        server: &ServerSettings,
    ) -> Result<Self, String> {
        let wrong = || format!("must have a `url` such as \"https://example.com/tasks\", not {url:?}");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if entry.allow_private => false,
            Some("http") => {
                return Err("has a `url` without TLS: write https, or `allow_private = true`".to_owned());
            }
            _ => return Err(wrong()),
        };
        let tls = if is_tls { Some(tls(host, entry, config)?) } else { None };
        let secret = entry.secret.reveal();
        Ok(Self {
            shown: url.to_owned(),
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            authority: authority.as_str().to_owned(),
            tls,
            key: if secret.is_empty() { None } else { Some(SigningKey::parse(secret)?) },
            allow_private: entry.allow_private,
            result_max: server.package_max_length,
        })
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Runs one attempt.
    pub(super) async fn run(&self, attempt: &Attempt) -> Outcome {
        self.exchange(attempt).await.unwrap_or_else(Outcome::Failed)
    }

    async fn exchange(&self, attempt: &Attempt) -> Result<Outcome, Failure> {
        let stream = self.connect().await?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = self.request(attempt)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            self.outcome(response).await
        };
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            outcome = &mut exchange => outcome,
            // What has come up to its end is still to be read.
            _ = connection => exchange.await,
        }
    }

    /// Connects to the first address that answers, of those that are allowed. It is the address itself that
    /// is checked and then connected to.
    async fn connect(&self) -> Result<Box<dyn HttpStream>, Failure> {
        let (host, port) = (&self.host, self.port);
        let looked_up = timeout(CONNECT_TIMEOUT, lookup_host((host.as_str(), port))).await;
        let found = looked_up.map_err(|_| later(format!("The name {host} is not resolved in time.")))?;
        let found: Vec<_> =
            found.map_err(|error| later(format!("There is no host {host}: {error}.")))?.collect();
        let allowed: Vec<_> =
            found.iter().filter(|address| self.allow_private || is_public(address.ip())).copied().collect();
        if let (true, Some(address)) = (allowed.is_empty(), found.first()) {
            return Err(never(format!(
                "{host} is {}, an address of this machine or a private network, which the function may only use with \
                 `allow_private = true` in config/functions.toml.",
                address.ip()
            )));
        }
        let mut failure = later(format!("There is no address of {host}."));
        for address in allowed {
            match timeout(CONNECT_TIMEOUT, self.open(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = later(format!("{host} ({address}) cannot be reached: {error}.")),
                Err(_) => failure = later(format!("{host} ({address}) does not answer in time.")),
            }
        }
        Err(failure)
    }

    async fn open(&self, address: SocketAddr) -> std::io::Result<Box<dyn HttpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
            None => Ok(Box::new(stream)),
        }
    }

    fn request(&self, attempt: &Attempt) -> Result<Request<Full<Bytes>>, Failure> {
        let (task, number) = (attempt.id().to_string(), attempt.number().to_string());
        let id = format!("{task}-{number}");
        let seconds = now_ms() / 1_000;
        let mut headers = vec![
            ("webhook-id", id.clone()),
            ("webhook-timestamp", seconds.to_string()),
            ("think-function", attempt.function().to_owned()),
            ("think-task-id", task),
            ("think-attempt", number),
        ];
        if let Some(timeout) = attempt.timeout() {
            headers.push(("think-deadline", seconds.saturating_add(timeout.as_secs()).to_string()));
        }
        if let Some(key) = &self.key {
            headers.push(("webhook-signature", key.sign(&id, seconds, attempt.args())));
        }
        let mut request = Request::post(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("think/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            let value = HeaderValue::try_from(value).map_err(|error| never(error.to_string()))?;
            request = request.header(HeaderName::from_static(name), value);
        }
        request.body(Full::new(attempt.args().clone())).map_err(|error| never(error.to_string()))
    }

    async fn outcome(&self, response: Response<Incoming>) -> Result<Outcome, Failure> {
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            let most = self.result_max;
            return match Limited::new(body, most).collect().await {
                Ok(body) => Ok(done(&body.to_bytes())),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                    Err(never(format!("The result is longer than {most} bytes (package_max_length).")))
                }
                Err(error) => Err(broken(error)),
            };
        }
        let retry = retry(head.status, &head.headers, now_ms());
        let mut message = format!("{} answers {}", self.host, head.status);
        if head.status.is_redirection() {
            message += ", a redirect, which is not followed";
        }
        if let Ok(body) = Limited::new(body, ERROR_MAX).collect().await {
            let body = quote(&String::from_utf8_lossy(&body.to_bytes()));
            if !body.is_empty() {
                message = format!("{message}: {body}");
            }
        }
        Err(Failure { message, retry })
    }
}

/// What follows an answer that is no success.
fn retry(status: StatusCode, headers: &HeaderMap, now_ms: u64) -> Retry {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let value = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let pause = value.and_then(|value| pause(value.trim(), now_ms));
            pause.map_or(Retry::Backoff, |pause| Retry::After(pause.min(PAUSE_MAX)))
        }
        _ if status.is_server_error() => Retry::Backoff,
        _ => Retry::Never,
    }
}

/// The value of `Retry-After`: seconds or a date.
fn pause(value: &str, now_ms: u64) -> Option<Duration> {
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time: Timestamp = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let at_ms = u64::try_from(time.as_millisecond()).ok()?;
    Some(Duration::from_millis(at_ms.saturating_sub(now_ms)))
}

/// The trust in certificates: the well-known authorities, and those of the settings.
fn tls(
    host: &str,
    entry: &FunctionEntry,
    config: &Config,
) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("has a `url` with no valid host: {host:?}"))?;
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(file) = &entry.ca_file {
        let unusable = |error: String| format!("has a `ca_file` that cannot be used: {error}");
        for certificate in certificates(&config.path(file)).map_err(unusable)? {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("cannot use TLS: {error}"))?;
    let client = builder.with_root_certificates(roots).with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(client)), name))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(found) if found.is_empty() => Err(format!("{} holds no certificate", path.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn broken(error: impl std::fmt::Display) -> Failure {
    later(format!("The connection broke: {error}."))
}

fn later(message: String) -> Failure {
    Failure { message, retry: Retry::Backoff }
}

fn never(message: String) -> Failure {
    Failure { message, retry: Retry::Never }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_within_its_bound() {
        let retry_of = |status, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry(StatusCode::from_u16(status).unwrap(), &headers, 784_111_767_000)
        };
        assert_eq!(retry_of(429, "7"), Retry::After(Duration::from_secs(7)));
        assert_eq!(retry_of(503, "Sun, 06 Nov 1994 08:49:37 GMT"), Retry::After(Duration::from_secs(10)));
        assert_eq!(retry_of(503, "Tue, 06 Nov 1990 08:49:37 GMT"), Retry::After(Duration::ZERO));
        assert_eq!(retry_of(503, "999999999999"), Retry::After(PAUSE_MAX));
        assert_eq!(retry_of(503, "soon"), Retry::Backoff);
        assert_eq!(retry_of(500, "7"), Retry::Backoff);
        for status in [301, 400, 404, 410] {
            assert_eq!(retry_of(status, "7"), Retry::Never);
        }
    }
}
