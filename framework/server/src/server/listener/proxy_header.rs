//! The header of the PROXY protocol (versions 1 and 2), by which a proxy tells whose connection it passes on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt;

use crate::server::peer::Peer;
use crate::server::stream::Stream;

/// The longest header of version 1, with its line end.
const TEXT_MAX: usize = 107;
/// The first bytes of version 2, and the length of its fixed part.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// The longest header of version 2 that is read: addresses, and what a proxy adds to them.
const BINARY_MAX: usize = 4096;

/// A complete header.
#[derive(Debug, PartialEq, Eq)]
struct ProxyHeader {
    /// The client; `None` where the proxy speaks for itself or does not know.
    client: Option<SocketAddr>,
    length: usize,
}

/// Reads the header, and returns the stream after it with the client that it names, or else with the proxy.
///
/// # Errors
/// `InvalidData` when the connection does not begin with a header.
pub(super) async fn read(mut stream: Stream, proxy: Peer) -> io::Result<(Stream, Peer)> {
    let mut first = Vec::with_capacity(256);
    loop {
        if let Some(header) = parse(&first)? {
            let rest = first.split_off(header.length);
            return Ok((stream.again(rest.into()), header.client.map_or(proxy, Peer::Tcp)));
        }
        if stream.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The header at the beginning of these bytes; `None` while it is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<ProxyHeader>> {
    let common = bytes.len().min(SIGNATURE.len());
    if common == 0 {
        return Ok(None);
    }
    if bytes[..common] == SIGNATURE[..common] { parse_binary(bytes) } else { parse_text(bytes) }
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443` and a line end.
fn parse_text(bytes: &[u8]) -> io::Result<Option<ProxyHeader>> {
    let line = &bytes[..bytes.len().min(TEXT_MAX)];
    let Some(end) = memchr::memmem::find(line, b"\r\n") else {
        let begins = b"PROXY ".starts_with(&line[..line.len().min(6)]);
        return if begins && line.len() < TEXT_MAX { Ok(None) } else { Err(invalid()) };
    };
    let text = std::str::from_utf8(&line[..end]).map_err(|_| invalid())?;
    let words: Vec<_> = text.split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", "TCP4", source, _, port, _] => {
            Some(SocketAddr::new(source.parse::<Ipv4Addr>().map_err(|_| invalid())?.into(), number(port)?))
        }
        ["PROXY", "TCP6", source, _, port, _] => {
            Some(SocketAddr::new(source.parse::<Ipv6Addr>().map_err(|_| invalid())?.into(), number(port)?))
        }
        _ => return Err(invalid()),
    };
    Ok(Some(ProxyHeader { client, length: end + 2 }))
}

/// Version 2: signature, version and command, family, length, addresses.
fn parse_binary(bytes: &[u8]) -> io::Result<Option<ProxyHeader>> {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || length > BINARY_MAX {
        return Err(invalid());
    }
    let Some(addresses) = bytes.get(FIXED..length) else { return Ok(None) };
    let client = match (command & 0xf, family >> 4) {
        // The proxy checks the server itself.
        (0, _) => None,
        (1, 1) => {
            let (source, rest) = addresses.split_first_chunk::<4>().ok_or_else(invalid)?;
            Some(SocketAddr::new(Ipv4Addr::from(*source).into(), port(rest, 4)?))
        }
        (1, 2) => {
            let (source, rest) = addresses.split_first_chunk::<16>().ok_or_else(invalid)?;
            Some(SocketAddr::new(Ipv6Addr::from(*source).into(), port(rest, 16)?))
        }
        // A Unix socket, or a family that the proxy does not name.
        (1, _) => None,
        _ => return Err(invalid()),
    };
    Ok(Some(ProxyHeader { client, length }))
}

/// The port of the source, which stands after the address of the destination.
fn port(rest: &[u8], address: usize) -> io::Result<u16> {
    let bytes = rest.get(address..address + 2).and_then(|bytes| bytes.first_chunk::<2>());
    bytes.map(|bytes| u16::from_be_bytes(*bytes)).ok_or_else(invalid)
}

fn number(text: &str) -> io::Result<u16> {
    text.parse().map_err(|_| invalid())
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the connection does not begin with a PROXY header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = (addresses.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, addresses].concat()
    }

    fn client(bytes: &[u8]) -> Option<String> {
        let header = parse(bytes).unwrap().expect("it is complete");
        assert_eq!(header.length, bytes.len());
        header.client.map(|client| client.to_string())
    }

    #[test]
    fn parse_reads_both_versions_wherever_they_are_cut() {
        let four = [&[192, 0, 2, 1, 10, 0, 0, 1][..], &[0xdc, 0x04, 1, 187], b"more"].concat();
        let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 80, 1, 187]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec(), Some("192.0.2.1:56324")),
            (b"PROXY TCP6 2001:db8::1 ::1 7 443\r\n".to_vec(), Some("[2001:db8::1]:7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (binary(0x21, 0x11, &four), Some("192.0.2.1:56324")),
            (binary(0x21, 0x21, &six), Some("[::1]:80")),
            (binary(0x20, 0, &[]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]).unwrap(), None, "{header:?} up to {end}");
            }
            assert_eq!(client(&header).as_deref(), expected);
        }
    }

    #[test]
    fn parse_refuses_everything_else() {
        let huge = binary(0x21, 0x11, &[0; 5000]);
        let endless = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"{",
            b"PROXY TCP4 ::1 ::1 1 1\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 70000 443\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n",
            &endless,
            &huge[..FIXED],
            &binary(0x11, 0x11, &[0; 12]),
            &binary(0x21, 0x11, &[0; 8]),
            &binary(0x22, 0x11, &[0; 12]),
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
