//! One command: a word, and what follows it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A command of a client.
#[derive(Debug)]
pub(super) enum FaktoryCommand<'a> {
    Push(&'a [u8]),
    PushMany(&'a [u8]),
    /// From these queues, the first one first.
    Fetch(Vec<&'a str>),
    Ack(JobId),
    Fail(Failure),
    Beat,
    Queue(QueueCommand<'a>),
    Info,
    Flush,
    End,
}

/// A command about queues.
#[derive(Debug)]
pub(super) struct QueueCommand<'a> {
    pub(super) action: QueueAction,
    /// `*` stands for all.
    pub(super) names: Vec<&'a str>,
}

/// What is done to queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueAction {
    Pause,
    Resume,
    Remove,
    Latency,
}

/// The first message of a client.
#[derive(Debug, Deserialize)]
pub(super) struct Hello {
    /// The version of the protocol; 0 where it is left out.
    #[serde(default)]
    pub(super) v: u32,
    /// The name of a worker; clients that only push jobs have none.
    #[serde(default)]
    pub(super) wid: Option<String>,
}

/// The client's id of a job.
#[derive(Debug, Deserialize)]
pub(super) struct JobId {
    pub(super) jid: String,
}

/// The end of a job that failed.
#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) jid: String,
    #[serde(default)]
    pub(super) errtype: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) backtrace: Option<Vec<String>>,
}

impl<'a> FaktoryCommand<'a> {
    /// Reads a line.
    ///
    /// # Errors
    /// A sentence for the client.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, String> {
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (word, rest) = (&line[..end], line[end..].trim_ascii());
        Ok(match word {
            b"PUSH" => Self::Push(rest),
            b"PUSHB" => Self::PushMany(rest),
            b"FETCH" => Self::Fetch(names(rest)?),
            b"ACK" => Self::Ack(json(rest)?),
            b"FAIL" => Self::Fail(json(rest)?),
            b"BEAT" => json::<Map<String, Value>>(rest).map(|_| Self::Beat)?,
            b"QUEUE" => Self::Queue(QueueCommand::parse(rest)?),
            b"INFO" => Self::Info,
            b"FLUSH" => Self::Flush,
            b"END" => Self::End,
            _ => return Err(format!("Unknown command {}", String::from_utf8_lossy(word).escape_debug())),
        })
    }
}

impl Hello {
    /// Reads the first line.
    ///
    /// # Errors
    /// A sentence for the client.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let hello = line.strip_prefix(b"HELLO ").ok_or("The first command has to be HELLO")?;
        let hello: Self = json(hello)?;
        // Old clients name none.
        if !matches!(hello.v, 0 | 2) {
            return Err("Only version 2 of the protocol is known: say \"v\":2".to_owned());
        }
        Ok(hello)
    }
}

impl<'a> QueueCommand<'a> {
    fn parse(rest: &'a [u8]) -> Result<Self, String> {
        let mut names = names(rest)?.into_iter();
        let action = match names.next().map(str::to_ascii_uppercase).as_deref() {
            Some("PAUSE") => QueueAction::Pause,
            Some("RESUME" | "UNPAUSE") => QueueAction::Resume,
            Some("REMOVE") => QueueAction::Remove,
            Some("LATENCY") => QueueAction::Latency,
            _ => return Err("QUEUE knows PAUSE, RESUME, REMOVE and LATENCY".to_owned()),
        };
        Ok(Self { action, names: names.collect() })
    }
}

fn names(rest: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(rest).map_err(|_| "Names have to be in UTF-8".to_owned())?;
    Ok(text.split_ascii_whitespace().collect())
}

fn json<T: DeserializeOwned>(rest: &[u8]) -> Result<T, String> {
    serde_json::from_slice(rest).map_err(|error| format!("Invalid JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_reads_each_command_and_refuses_others() {
        for line in [
            "PUSH {}",
            "PUSHB []",
            "FETCH",
            "FETCH a b",
            "ACK {\"jid\":\"1\"}",
            "FAIL {\"jid\":\"1\",\"backtrace\":[\"a\"]}",
            "BEAT {\"wid\":\"1\",\"rss_kb\":7}",
            "QUEUE PAUSE a *",
            "QUEUE latency a",
            "INFO",
            "FLUSH",
            "END",
        ] {
            assert!(FaktoryCommand::parse(line.as_bytes()).is_ok(), "{line}");
        }
        for line in [
            "",
            "push {}",
            "ACK",
            "ACK {}",
            "FAIL []",
            "QUEUE",
            "QUEUE DROP a",
            "TRACK GET 1",
            "FETCH \u{0}x\u{0}",
        ] {
            let is_wrong = FaktoryCommand::parse(line.as_bytes()).is_err();
            assert!(is_wrong || line.starts_with("FETCH"), "{line}");
        }
        assert!(FaktoryCommand::parse(b"FETCH \xff").is_err());
    }

    #[test]
    fn hello_has_version_2() {
        assert!(Hello::parse(b"HELLO {\"v\":2,\"wid\":\"a\",\"labels\":[]}").is_ok());
        for line in [&b"HELLO {\"v\":1}"[..], b"HELLO", b"HELLO x", b"PUSH {}"] {
            assert!(Hello::parse(line).is_err());
        }
    }
}
