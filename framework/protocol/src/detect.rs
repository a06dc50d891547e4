//! The protocol of a connection, detected from its first bytes.

use memchr::{memchr, memrchr};

/// The common methods of HTTP, and the beginning of the HTTP/2 preface, which are detected before the first
/// line is complete.
const METHODS: [&[u8]; 11] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"HEAD ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"QUERY ",
    b"PRI ",
];

/// A first line that is longer than this, in bytes, is taken for lines while it has no end.
const REQUEST_LINE_MAX: usize = 64 * 1024;

/// The protocol that the first bytes of a connection announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectedProtocol {
    /// Begins with `0x16`, a handshake record; the protocol within is detected from the first bytes within.
    Tls,
    /// Begins with a request line, whatever its method. A browser's request is never taken for lines.
    Http,
    /// Begins with `0x00`, the first byte of a length below 16 MB.
    Frames,
    /// Lines: what is none of the others.
    Lines,
}

impl DetectedProtocol {
    /// The protocol of a connection that begins like this, without empty lines; `None` while more than one is
    /// possible.
    pub fn detect(first: &[u8]) -> Option<Self> {
        match first {
            [] => None,
            [0x16, ..] => Some(Self::Tls),
            [0, ..] => Some(Self::Frames),
            _ if METHODS.iter().any(|method| first.starts_with(method)) => Some(Self::Http),
            _ => Self::detect_text(first),
        }
    }

    /// A page may send any method, so only a complete first line tells lines from HTTP, unless it begins like
    /// no method.
    fn detect_text(first: &[u8]) -> Option<Self> {
        let method = first.iter().take_while(|byte| is_token(**byte)).count();
        let may_be_http = method > 0 && first.get(method).is_none_or(|next| matches!(next, b' ' | b'\t'));
        if !may_be_http {
            return Some(Self::Lines);
        }
        match memchr(b'\n', first) {
            Some(end) if is_request_line(&first[..end]) => Some(Self::Http),
            None if first.len() <= REQUEST_LINE_MAX => None,
            Some(_) | None => Some(Self::Lines),
        }
    }

    /// The first bytes without the empty lines before them, which HTTP allows and which are nothing in lines.
    pub fn skip_empty_lines(first: &[u8]) -> &[u8] {
        let start = first.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(first.len());
        &first[start..]
    }

    /// True when a line belongs to a request of HTTP: a request line of any method, or the field `Host`,
    /// which every browser sends.
    pub fn is_http_line(line: &[u8]) -> bool {
        let line = line.trim_ascii();
        line.first_chunk::<5>().is_some_and(|name| name.eq_ignore_ascii_case(b"host:"))
            || is_request_line(line)
    }
}

/// `METHOD target HTTP/1.1`, with any method and version.
fn is_request_line(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let Some(version) = memrchr(b' ', line).map(|space| &line[space + 1..]) else { return false };
    let number = version.split_first_chunk::<5>().filter(|(name, _)| name.eq_ignore_ascii_case(b"http/"));
    let has_version =
        number.is_some_and(|(_, number)| number.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'));
    has_version && is_token(line[0])
}

/// A letter of a method (RFC 9110, `tchar`).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detect_decides_as_soon_as_the_bytes_allow() {
        let long = [b'x'; REQUEST_LINE_MAX + 1];
        for (first, expected) in [
            (&b""[..], None),
            (b"P", None),
            (b"POST", None),
            (b"POST ", Some(DetectedProtocol::Http)),
            (b"POST / HTTP/1.1\r\n", Some(DetectedProtocol::Http)),
            (b"POSTCARD", None),
            (b"POSTCARD\n", Some(DetectedProtocol::Lines)),
            (b"hello world", None),
            (b"hello world\n", Some(DetectedProtocol::Lines)),
            (b"auth secret\n", Some(DetectedProtocol::Lines)),
            (b"get / HTTP/1.1", None),
            (b"get / HTTP/1.1\n", Some(DetectedProtocol::Http)),
            (b"PROPFIND /x HTTP/1.1\r\n", Some(DetectedProtocol::Http)),
            (b"X!|~ * http/2\r\n{\"function\":\"noop\"}\n", Some(DetectedProtocol::Http)),
            (b"FOO /a b HTTP/1.1\n", Some(DetectedProtocol::Http)),
            (b"FOO /x HTTP/1.1 x\n", Some(DetectedProtocol::Lines)),
            (b"{", Some(DetectedProtocol::Lines)),
            (b"\x16\x03\x01", Some(DetectedProtocol::Tls)),
            (b"\0\0\0\x05x", Some(DetectedProtocol::Frames)),
            (b"\xff", Some(DetectedProtocol::Lines)),
            (&long, Some(DetectedProtocol::Lines)),
        ] {
            assert_eq!(DetectedProtocol::detect(first), expected, "{first:?}");
        }
    }

    #[test]
    fn is_http_line_knows_request_lines_and_host() {
        for line in [&b"FOO /x HTTP/1.1\r"[..], b"get / http/1.0", b"Host: evil.test", b"host:x"] {
            assert!(DetectedProtocol::is_http_line(line), "{line:?}");
        }
        for line in [&b""[..], b"hello", b"HTTP/1.1", b"hostess: x", b"{\"a\": HTTP/1.1", b"x /y HTTPS/1"] {
            assert!(!DetectedProtocol::is_http_line(line), "{line:?}");
        }
    }
}
