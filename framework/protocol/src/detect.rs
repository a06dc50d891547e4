//! The protocol of a connection, detected from its first bytes.

/// The methods of HTTP, and the beginning of the HTTP/2 preface.
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

/// The protocol that the first bytes of a connection announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectedProtocol {
    /// Begins with `0x16`, a handshake record; the protocol within is detected from the first bytes within.
    Tls,
    /// Begins with a method. A browser's request is never taken for lines.
    Http,
    /// Begins with `0x00`, the first byte of a length below 16 MB.
    Frames,
    /// Lines: what is none of the others.
    Lines,
}

impl DetectedProtocol {
    /// The protocol of a connection that begins like this; `None` while more than one is possible.
    pub fn detect(first: &[u8]) -> Option<Self> {
        match first {
            [] => None,
            [0x16, ..] => Some(Self::Tls),
            [0, ..] => Some(Self::Frames),
            _ if METHODS.iter().any(|method| first.starts_with(method)) => Some(Self::Http),
            _ if METHODS.iter().any(|method| method.starts_with(first)) => None,
            _ => Some(Self::Lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detect_decides_as_soon_as_the_bytes_allow() {
        for (first, expected) in [
            (&b""[..], None),
            (b"P", None),
            (b"PO", None),
            (b"POST", None),
            (b"POST ", Some(DetectedProtocol::Http)),
            (b"POST / HTTP/1.1\r\n", Some(DetectedProtocol::Http)),
            (b"POSTCARD", Some(DetectedProtocol::Lines)),
            (b"PRINT", Some(DetectedProtocol::Lines)),
            (b"get / HTTP/1.1", Some(DetectedProtocol::Lines)),
            (b"{", Some(DetectedProtocol::Lines)),
            (b"\n", Some(DetectedProtocol::Lines)),
            (b"\x16\x03\x01", Some(DetectedProtocol::Tls)),
            (b"\0\0\0\x05x", Some(DetectedProtocol::Frames)),
            (b"\xff", Some(DetectedProtocol::Lines)),
        ] {
            assert_eq!(DetectedProtocol::detect(first), expected, "{first:?}");
        }
    }
}
