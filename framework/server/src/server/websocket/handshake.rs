//! The handshake that turns an HTTP connection into a WebSocket.

use framework_protocol::RequestError;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::server::settings::BEARER;

/// The version of the protocol since 2011.
const VERSION: &str = "13";

/// True when a request is a WebSocket handshake.
pub(crate) fn is_wanted<B>(request: &Request<B>) -> bool {
    has_item(request.headers(), &UPGRADE, "websocket") && has_item(request.headers(), &CONNECTION, "upgrade")
}

/// The token that a page shows among its subprotocols.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    items(headers, &SEC_WEBSOCKET_PROTOCOL).find_map(|item| item.strip_prefix(BEARER))
}

/// The response to a handshake at `path`, with the first subprotocol of the client that is among `protocols`.
/// The request becomes a WebSocket if its status is 101; a client of another version is sent the supported
/// one.
///
/// # Errors
/// When the request is no such handshake, or asks for it at another path.
pub(crate) fn accept<B>(
    request: &Request<B>,
    path: &str,
    protocols: &[String],
) -> Result<Response<()>, RequestError> {
    let headers = request.headers();
    if request.uri().path() != path {
        let message = format!("A WebSocket opens at \"{path}\" here (websocket_path).");
        return Err(RequestError::bad_request(message));
    }
    if request.method() != Method::GET {
        return Err(RequestError::bad_request("A WebSocket opens with GET."));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        let response = Response::builder().status(StatusCode::UPGRADE_REQUIRED);
        return finish(response.header(SEC_WEBSOCKET_VERSION, VERSION));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_key(key)) else {
        return Err(RequestError::bad_request("A WebSocket needs Sec-WebSocket-Key, 16 bytes in base64."));
    };
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    // A browser closes when it offered some and none is chosen.
    let known = |item: &&str| protocols.iter().any(|known| known == item);
    if let Some(chosen) = items(headers, &SEC_WEBSOCKET_PROTOCOL).find(known) {
        response = response.header(SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    finish(response)
}

fn finish(response: hyper::http::response::Builder) -> Result<Response<()>, RequestError> {
    response.body(()).map_err(|error| RequestError::bad_request(format!("{error}.")))
}

/// Sixteen bytes in base64: 22 digits and two signs of padding.
fn is_key(key: &HeaderValue) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    match key.as_bytes() {
        [digits @ .., b'=', b'='] => digits.len() == 22 && digits.iter().all(digit),
        _ => false,
    }
}

fn has_item(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    items(headers, name).any(|found| found.eq_ignore_ascii_case(item))
}

/// The comma-separated parts of a header, which may occur several times.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(lines: &[(&str, &str)]) -> Request<()> {
        let request =
            Request::builder().uri("/").header("upgrade", "WebSocket").header("connection", "Upgrade");
        lines.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    fn protocols() -> [String; 2] {
        ["other".to_owned(), "think".to_owned()]
    }

    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    const THIRTEEN: (&str, &str) = ("sec-websocket-version", "13");

    #[test]
    fn accept_answers_the_key_of_the_standard() {
        let request = handshake(&[KEY, THIRTEEN]);
        assert!(is_wanted(&request));
        let response = accept(&request, "/", &protocols()).unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn token_among_the_subprotocols_is_not_echoed() {
        let request = handshake(&[KEY, THIRTEEN, ("sec-websocket-protocol", "think, bearer.abc")]);
        assert_eq!(token(request.headers()), Some("abc"));
        assert_eq!(accept(&request, "/", &protocols()).unwrap().headers()[SEC_WEBSOCKET_PROTOCOL], "think");
    }

    #[test]
    fn accept_refuses_other_requests() {
        assert_eq!(accept(&handshake(&[KEY]), "/", &[]).unwrap().status(), StatusCode::UPGRADE_REQUIRED);
        for key in ["", "c2hvcnQ=", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25j!Q=="] {
            let request = handshake(&[THIRTEEN, ("sec-websocket-key", key)]);
            assert!(accept(&request, "/", &[]).is_err(), "{key}");
        }
        assert!(accept(&handshake(&[KEY, THIRTEEN]), "/socket", &[]).is_err());
        assert!(!is_wanted(&Request::builder().header("upgrade", "h2c").body(()).unwrap()));
    }
}
