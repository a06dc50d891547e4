//! The arguments of a task as a job, whose body may be any bytes.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::FUNCTION;

/// The schema of the arguments.
pub(super) const SCHEMA: &str = r#"{
    "type": "object",
    "description": "A job of beanstalkd. Its body is one of \"json\", \"text\" and \"base64\"; none is an empty one.",
    "properties": {
        "pri": {"type": "integer", "minimum": 0, "maximum": 4294967295, "default": 1024},
        "delay": {"type": "integer", "minimum": 0, "maximum": 4294967295, "default": 0},
        "json": {"description": "A body that is JSON"},
        "text": {"type": "string", "description": "A body that is text"},
        "base64": {"type": "string", "description": "Any other body, in base64"}
    },
    "additionalProperties": false
}"#;

/// The priority of a job whose arguments name none.
const PRIORITY: u32 = 1_024;

/// A job: its priority and delay as its client has given them last, and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job<'a> {
    pub(super) priority: u32,
    /// A time in seconds.
    pub(super) delay: u32,
    pub(super) body: Cow<'a, [u8]>,
}

/// The arguments, of which a body is the first that is there.
#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(default)]
    pri: Option<u32>,
    #[serde(default)]
    delay: Option<u32>,
    #[serde(borrow, default)]
    json: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    base64: Option<Cow<'a, str>>,
}

impl<'a> Job<'a> {
    /// The job that a task is. The arguments of a task of another function are its body as they are.
    pub(super) fn of(function: &str, args: &'a [u8]) -> Self {
        let plain = || Self { priority: PRIORITY, delay: 0, body: Cow::Borrowed(args) };
        // A list would be read as the fields in their order.
        if function != FUNCTION || !args.starts_with(b"{") {
            return plain();
        }
        let Ok(arguments) = serde_json::from_slice::<Arguments>(args) else { return plain() };
        let Arguments { pri, delay, json, text, base64 } = arguments;
        let body = match (json, text, base64) {
            (Some(json), ..) => Cow::Borrowed(json.get().as_bytes()),
            (None, Some(Cow::Borrowed(text)), _) => Cow::Borrowed(text.as_bytes()),
            (None, Some(Cow::Owned(text)), _) => Cow::Owned(text.into_bytes()),
            (None, None, Some(base64)) => Cow::Owned(STANDARD.decode(&*base64).unwrap_or_default()),
            (None, None, None) => Cow::Borrowed(&[][..]),
        };
        Self { priority: pri.unwrap_or(PRIORITY), delay: delay.unwrap_or(0), body }
    }

    /// The arguments of its task: JSON in one line, from which the body comes back byte by byte.
    pub(super) fn arguments(&self) -> Bytes {
        let mut args = Vec::with_capacity(self.body.len() + 40);
        args.extend_from_slice(b"{\"pri\":");
        args.extend_from_slice(self.priority.to_string().as_bytes());
        if self.delay > 0 {
            args.extend_from_slice(b",\"delay\":");
            args.extend_from_slice(self.delay.to_string().as_bytes());
        }
        match std::str::from_utf8(&self.body) {
            Ok("") => {}
            Ok(text) if is_json(text) => {
                args.extend_from_slice(b",\"json\":");
                args.extend_from_slice(text.as_bytes());
            }
            Ok(text) => {
                args.extend_from_slice(b",\"text\":");
                serde_json::to_writer(&mut args, text).expect("a vector takes every byte");
            }
            Err(_) => {
                args.extend_from_slice(b",\"base64\":\"");
                args.extend_from_slice(STANDARD.encode(&self.body).as_bytes());
                args.push(b'"');
            }
        }
        args.push(b'}');
        args.into()
    }
}

/// Whether a text is an object or an array of JSON in one line, and nothing else, so that it comes back as it
/// is.
fn is_json(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_enclosed =
        matches!((bytes.first(), bytes.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')));
    is_enclosed
        && memchr::memchr2(b'\n', b'\r', bytes).is_none()
        && serde_json::from_str::<&RawValue>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(body: &[u8]) -> String {
        let job = Job { priority: 7, delay: 0, body: body.into() };
        let args = job.arguments();
        assert_eq!(Job::of(FUNCTION, &args), job, "{body:?} comes back");
        String::from_utf8(args.to_vec()).unwrap()
    }

    #[test]
    fn arguments_show_json_as_json_text_as_text_and_other_bytes_in_base64() {
        assert_eq!(arguments(b"{\"a\": [1, 2.50]}"), r#"{"pri":7,"json":{"a": [1, 2.50]}}"#);
        assert_eq!(arguments(b"hello \"you\"\n"), r#"{"pri":7,"text":"hello \"you\"\n"}"#);
        assert_eq!(arguments(b"\xff\0"), r#"{"pri":7,"base64":"/wA="}"#);
        assert_eq!(arguments(b""), r#"{"pri":7}"#);
    }

    #[test]
    fn arguments_give_back_every_body_byte_by_byte() {
        for body in
            [&b"{}"[..], b" {}", b"{} ", b"{\n}", b"[1", b"{]", b"17", b"null", b"\0", b"\r\n", b"{}{}"]
        {
            arguments(body);
        }
        fastrand::seed(7);
        for _ in 0..20_000 {
            let letters = [b'{', b'}', b'[', b']', b'"', b'\\', b',', b':', b'1', b' ', b'\n', 0xc3, 0xa9, 0];
            let body: Vec<u8> =
                (0..fastrand::usize(..12)).map(|_| letters[fastrand::usize(..letters.len())]).collect();
            arguments(&body);
        }
    }

    #[test]
    fn job_of_another_function_or_of_foreign_arguments_has_them_as_its_body() {
        assert_eq!(&*Job::of("other", b"{\"to\":1}").body, b"{\"to\":1}");
        assert_eq!(&*Job::of(FUNCTION, b"[1]").body, b"[1]");
        let job = Job::of(FUNCTION, b"{\"pri\":3,\"delay\":9}");
        assert_eq!((job.priority, job.delay, &*job.body), (3, 9, &b""[..]));
    }
}
