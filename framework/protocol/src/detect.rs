//! What a connection speaks, told by its first bytes.

/// The methods of HTTP, and the word that HTTP/2 begins with.
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

/// What the first bytes of a connection announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetectedProtocol {
    /// Begins with `0x16`, a handshake record; what is spoken within is told by the first bytes within.
    Tls,
    /// Begins with a method. A browser's request is never taken for lines.
    Http,
    /// Begins with `0x00`, the first byte of a length below 16 MB.
    Frames,
    /// Anything else.
    Lines,
}

impl DetectedProtocol {
    /// `None` while the bytes may become more than one of these.
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
    fn the_first_bytes_tell_the_protocol_as_soon_as_they_can() {
        for (first, told) in [
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
            assert_eq!(DetectedProtocol::detect(first), told, "{first:?}");
        }
    }
}
