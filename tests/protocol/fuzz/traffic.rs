//! Valid traffic of every protocol, and mutations of it.

use fastrand::Rng;
use framework::protocol::FrameDecoder;

/// Requests of every kind.
const MESSAGES: [&str; 16] = [
    "hello",
    "",
    "?",
    r#"{"function":"noop","args":null}"#,
    r#"{"function":"echo","args":"hi","id":1,"reply":"both"}"#,
    r#"{"function":"echo","args":"\u00e9\ud83c\udf0d","id":"a","reply":"result","priority":9}"#,
    r#"{"function":"echo","args":"x","delay":"1ms","attempts":3,"timeout":"30s","backoff":"5s"}"#,
    r#"{"function":"echo","args":"x","at":"2026-12-01T09:00:00+08:00","expires":"1h","queue":"q"}"#,
    r#"{"function":"echo","args":"x","key":"k","concurrency_key":"c","then":["echo"],"reply":"none"}"#,
    r#"{"function":null,"args":{"to":[1,2.5e300,true,null,{"a":{}}]}}"#,
    r#"{"command":"status"}"#,
    r#"{"command":"show","task":0,"id":7}"#,
    r#"{"command":"list","state":"done","limit":5}"#,
    r#"{"command":"open_batch","name":"b","function":"echo"}"#,
    r#"{"command":"watch","task":0}"#,
    r#"{"command":"auth","token":"none"}"#,
];

const REQUESTS: [&str; 8] = [
    "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET /tasks?state=done&limit=3 HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n",
    "POST /tasks/echo?wait=1ms HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n\"hi\"",
    "POST /tasks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
     25\r\n{\"function\":\"echo\",\"args\":\"chunked\"}\n\r\n0\r\n\r\n",
    "DELETE /tasks/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://localhost\r\n\r\n",
    "GET /tasks/0/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "OPTIONS /tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n",
    "GET /openapi.json HTTP/1.0\r\n\r\n",
];

const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The bytes that a client sends.
pub(super) struct Traffic {
    /// Stays without mistakes, so that the rest is reached at all.
    head: Vec<u8>,
    bytes: Vec<u8>,
}

impl Traffic {
    pub(super) fn any(random: &mut Rng) -> Self {
        match random.u8(0..6) {
            0 | 1 => Self::lines(random),
            2 => Self::frames(random),
            3 => Self::http(random),
            4 => Self::websocket(random),
            // The beginning of a TLS handshake.
            _ => Self { head: vec![0x16], bytes: vec![3, 1, 0, 5, 1, 0, 0, 1, 0] },
        }
    }

    pub(super) fn lines(random: &mut Rng) -> Self {
        let line = |message: &'static str| [message.as_bytes(), b"\n"].concat();
        Self { head: Vec::new(), bytes: several(random).into_iter().flat_map(line).collect() }
    }

    pub(super) fn frames(random: &mut Rng) -> Self {
        let mut bytes = Vec::new();
        for message in several(random) {
            FrameDecoder::write(message.as_bytes(), &mut bytes);
        }
        Self { head: Vec::new(), bytes }
    }

    fn http(random: &mut Rng) -> Self {
        let count = random.usize(1..4);
        let bytes = random.choose_multiple(REQUESTS, count).concat().into_bytes();
        Self { head: Vec::new(), bytes }
    }

    fn websocket(random: &mut Rng) -> Self {
        let mut bytes = Vec::new();
        for message in several(random) {
            let opcode = if random.bool() { 1 } else { random.u8(0..11) };
            let is_last = random.u8(0..4) > 0;
            bytes.push(u8::from(is_last) << 7 | opcode);
            match message.len() {
                length @ 0..126 => bytes.push(0x80 | length as u8),
                length => {
                    bytes.push(0x80 | 126);
                    bytes.extend_from_slice(&(length as u16).to_be_bytes());
                }
            }
            let mask: [u8; 4] = random.u32(..).to_be_bytes();
            bytes.extend_from_slice(&mask);
            bytes.extend(message.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        let is_whole = random.u8(0..4) > 0;
        let (head, before) = if is_whole { (HANDSHAKE, "") } else { ("", HANDSHAKE) };
        Self { head: head.into(), bytes: [before.as_bytes(), &bytes].concat() }
    }

    /// The same with mistakes; now and then with none.
    pub(super) fn spoiled(self, random: &mut Rng) -> Vec<u8> {
        let Self { head, mut bytes } = self;
        for _ in 0..random.usize(0..6) {
            spoil(&mut bytes, random);
        }
        [head, bytes].concat()
    }
}

fn several(random: &mut Rng) -> Vec<&'static str> {
    let count = random.usize(1..8);
    (0..count).filter_map(|_| random.choice(MESSAGES)).collect()
}

/// Makes one mistake.
fn spoil(bytes: &mut Vec<u8>, random: &mut Rng) {
    let place = random.usize(0..=bytes.len());
    let end = (place + random.usize(0..32)).min(bytes.len());
    match random.u8(0..8) {
        0 => bytes.truncate(place),
        1 => {
            bytes.drain(place..end);
        }
        2 => {
            let again = bytes[place..end].repeat(random.usize(1..20));
            bytes.splice(place..place, again);
        }
        3 => {
            let noise: Vec<u8> = (0..random.usize(1..16)).map(|_| random.u8(..)).collect();
            bytes.splice(place..place, noise);
        }
        4 => {
            let extremes: [&[u8]; 8] =
                [b"\0", b"\xff\xff\xff\xff", b"\n", b"\r\n", b"18446744073709551616", b"-1", b"1e999", b"\""];
            bytes.splice(place..end, extremes[random.usize(0..8)].iter().copied());
        }
        5 => {
            let deep = if random.bool() { b"[" } else { b"{" };
            bytes.splice(place..place, deep.repeat(random.usize(1..2000)));
        }
        6 => bytes.rotate_left(place),
        _ => {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 1 << random.u8(0..8);
            }
        }
    }
}
