//! Keeps the pages of foreign sites out: their browser stands on the same machine, and reaches what it
//! reaches.

use std::net::{IpAddr, SocketAddr};

use framework_protocol::{ErrorCode, RequestError, ShownName};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{Method, Request};

use super::pages;
use crate::server::access::policy::ListenerPolicy;
use crate::server::context::SessionLimits;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The origins of pages that may talk to this listener, and its names.
#[derive(Debug, Clone, Copy)]
pub(super) struct OriginPolicy<'a> {
    /// The address that the listener is bound to, loopback or not; `None` is a Unix socket, which no
    /// browser reaches.
    address: Option<IpAddr>,
    /// A client has to show a token, which no foreign page has.
    requires_token: bool,
    origins: &'a [String],
    hosts: &'a [String],
}

impl<'a> OriginPolicy<'a> {
    pub(super) fn new(policy: &ListenerPolicy, limits: &'a SessionLimits) -> Self {
        let address = policy.address.parse::<SocketAddr>().ok().map(|address| address.ip());
        let requires_token = policy.access().is_unknown();
        Self { address, requires_token, origins: &limits.origins, hosts: &limits.hosts }
    }

    /// Lets a request in whose `Host` is a name of this listener, and whose `Origin`, if it has one, is no
    /// foreign site.
    ///
    /// # Errors
    /// `forbidden`, with the setting that would let it in.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), RequestError> {
        self.check_host(request)?;
        // The pages of this server are of the host that they were loaded from.
        if pages::is_page(request.uri().path()) && is_own_origin(request.headers()) {
            return Ok(());
        }
        self.check_origin(request.method(), request.headers())
    }

    /// The origin that a page of it may read answers with, for `Access-Control-Allow-Origin`.
    pub(super) fn allowed_origin<'b>(&self, headers: &'b HeaderMap) -> Option<&'b HeaderValue> {
        headers.get(ORIGIN).filter(|origin| self.allows_origin(origin))
    }

    /// A name that an attacker owns may point to this machine (DNS rebinding): to the browser, its pages are
    /// then of the same site as this server.
    fn check_host<B>(&self, request: &Request<B>) -> Result<(), RequestError> {
        let mut named = request.headers().get_all(HOST).iter();
        let (name, more) = (named.next(), named.next());
        let of_target = request.uri().authority();
        let host = match (name, of_target) {
            _ if more.is_some() => return Err(RequestError::bad_request("A request has one Host.")),
            (_, Some(authority)) => Some(authority.clone()),
            (Some(value), None) if value.is_empty() => None,
            (Some(value), None) => Some(Authority::try_from(value.as_bytes()).map_err(|_| no_host())?),
            // HTTP/1.0 has none, and no browser speaks that.
            (None, None) => None,
        };
        if host.as_ref().is_some_and(|host| !is_host_and_port(host)) {
            return Err(no_host());
        }
        match host {
            Some(host) if !self.allows_host(&host) => Err(RequestError::new(
                ErrorCode::Forbidden,
                format!(
                    "This server is not known as {}: name it in `hosts` if it is to be.",
                    ShownName(host.host())
                ),
            )),
            _ => Ok(()),
        }
    }

    fn allows_host(&self, host: &Authority) -> bool {
        let listed = |known: &String| {
            known.eq_ignore_ascii_case(host.as_str()) || known.eq_ignore_ascii_case(host.host())
        };
        if self.hosts.iter().any(listed) || is_loopback(host.host()) {
            return true;
        }
        match self.address {
            None => true,
            Some(address) if address.is_loopback() => false,
            // An address cannot be rebound as a name can; and where a token is required, a name alone gives no access.
            Some(_) => literal(host.host()).is_some() || (self.requires_token && self.hosts.is_empty()),
        }
    }

    fn check_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), RequestError> {
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        if origins.peek().is_none() {
            return check_fetch(method, headers);
        }
        match origins.find(|origin| !self.allows_origin(origin)) {
            Some(foreign) => Err(RequestError::new(
                ErrorCode::Forbidden,
                format!(
                    "Pages of {} may not talk to this server: name it in `origins` if they are to.",
                    ShownName(&String::from_utf8_lossy(foreign.as_bytes()))
                ),
            )),
            None => Ok(()),
        }
    }

    fn allows_origin(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        if self.origins.iter().any(|listed| listed.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
            return true;
        }
        let is_local = self.address.is_none_or(|address| address.is_loopback());
        is_local && origin_host(origin).is_some_and(|host| is_loopback(host.host()))
    }
}

/// A browser that sends no `Origin` may still say that a foreign page asks; such a request may look and not
/// touch.
fn check_fetch(method: &Method, headers: &HeaderMap) -> Result<(), RequestError> {
    let is_foreign =
        headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site" || site == "same-site");
    if is_foreign && !method.is_safe() {
        return Err(RequestError::new(ErrorCode::Forbidden, "Foreign pages may not talk to this server."));
    }
    Ok(())
}

/// Whether the one origin is of the host that was asked.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let origin = origins.next().filter(|_| origins.next().is_none());
    let origin = origin.and_then(|origin| origin_host(origin.to_str().ok()?));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    origin.zip(host).is_some_and(|(origin, host)| origin.as_str().eq_ignore_ascii_case(host))
}

/// The host of an origin that is a site; `null` and `file://` are none.
fn origin_host(origin: &str) -> Option<Authority> {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))?;
    rest.parse().ok().filter(is_host_and_port)
}

/// True when there is nothing but a host and perhaps a port: the parser lets a user through, and takes
/// whatever stands after a colon for a port.
fn is_host_and_port(authority: &Authority) -> bool {
    let Some(rest) = authority.as_str().strip_prefix(authority.host()) else { return false };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    port.is_empty() || port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn no_host() -> RequestError {
    RequestError::bad_request("The Host of the request is no name of a host.")
}

fn is_loopback(host: &str) -> bool {
    literal(host).map_or_else(|| host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

/// An address as it stands in a URL, with brackets around one of IPv6.
fn literal(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => host.parse().map(IpAddr::V4).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNREACHABLE: OriginPolicy =
        OriginPolicy { address: None, requires_token: false, origins: &[], hosts: &[] };

    fn at(address: &str) -> OriginPolicy<'static> {
        OriginPolicy { address: Some(address.parse().unwrap()), ..UNREACHABLE }
    }

    fn allows(policy: OriginPolicy, method: &str, headers: &[(&str, &str)]) -> bool {
        let request =
            headers.iter().fold(Request::builder().method(method).uri("/tasks"), |request, (name, value)| {
                request.header(*name, *value)
            });
        policy.check(&request.body(()).unwrap()).is_ok()
    }

    fn host(policy: OriginPolicy, host: &str) -> bool {
        allows(policy, "GET", &[("host", host)])
    }

    fn origin(policy: OriginPolicy, origin: &str) -> bool {
        allows(policy, "POST", &[("host", "127.0.0.1:9501"), ("origin", origin)])
    }

    #[test]
    fn loopback_listener_allows_loopback_names_only() {
        let policy = at("127.0.0.1");
        for name in ["127.0.0.1:9501", "127.8.8.8", "localhost", "LOCALHOST:80", "[::1]:9501", ""] {
            assert!(host(policy, name), "{name}");
        }
        let names = ["evil.test", "evil.test:9501", "localhost.evil.test", "127.0.0.1.evil.test", "10.0.0.1"];
        for name in
            names.iter().chain(&["::1", "[::2]", "a b", "localhost@evil.test", "user@localhost.evil.test"])
        {
            assert!(!host(policy, name), "{name}");
        }
        for name in [
            "127.0.0.1:9706.evil.test",
            "[::1]:80.evil.test",
            "localhost:x",
            "evil.test@localhost",
            "[::1]:65536",
        ] {
            assert!(!host(policy, name), "{name}");
        }
        assert!(allows(policy, "GET", &[]), "who speaks HTTP/1.0 is no browser");
        assert!(!allows(policy, "GET", &[("host", "localhost"), ("host", "evil.test")]));
    }

    #[test]
    fn open_listener_allows_addresses_and_listed_names() {
        let open = at("0.0.0.0");
        assert!(
            host(open, "10.0.0.1:9501") && host(open, "[2001:db8::1]") && !host(open, "tasks.example.com")
        );
        let hosts = ["tasks.example.com".to_owned(), "other.example.com:9501".to_owned()];
        let listed = OriginPolicy { hosts: &hosts, ..open };
        assert!(host(listed, "Tasks.example.com:9501") && host(listed, "other.example.com:9501"));
        assert!(!host(listed, "other.example.com:80") && !host(listed, "evil.test"));
        assert!(
            host(OriginPolicy { requires_token: true, ..open }, "any.example.com"),
            "a token is asked for"
        );
        assert!(
            !host(OriginPolicy { requires_token: true, ..listed }, "any.example.com"),
            "but not where names are listed"
        );
        assert!(host(UNREACHABLE, "whatever"), "a Unix socket");
    }

    #[test]
    fn origin_of_this_machine_or_listed_is_allowed() {
        let policy = at("::1");
        for page in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:80"] {
            assert!(origin(policy, page), "{page}");
        }
        let foreign = ["null", "", "http://evil.test", "http://localhost.evil.test", "file://", "localhost"];
        for page in foreign.iter().chain(&["http://localhost@evil.test", "chrome-extension://localhost"]) {
            assert!(!origin(policy, page), "{page}");
        }
        let origins = ["https://app.example.com".to_owned()];
        let listed = OriginPolicy { origins: &origins, ..at("0.0.0.0") };
        assert!(origin(listed, "https://app.example.com") && !origin(listed, "http://app.example.com"));
        assert!(!origin(listed, "https://app.example.com:444") && !origin(listed, "http://localhost"));
        let two = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.test")];
        assert!(!allows(policy, "POST", &two));
    }

    #[test]
    fn foreign_page_without_an_origin_may_only_read() {
        for site in ["cross-site", "same-site"] {
            assert!(allows(at("127.0.0.1"), "GET", &[("sec-fetch-site", site)]));
            assert!(!allows(at("127.0.0.1"), "POST", &[("sec-fetch-site", site)]));
        }
        assert!(allows(at("127.0.0.1"), "POST", &[("sec-fetch-site", "none")]));
    }

    #[test]
    fn allowed_origin_is_returned_for_the_response() {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static("http://localhost:3000"));
        assert_eq!(at("127.0.0.1").allowed_origin(&headers).unwrap(), "http://localhost:3000");
        assert_eq!(at("10.0.0.1").allowed_origin(&headers), None);
    }
}
