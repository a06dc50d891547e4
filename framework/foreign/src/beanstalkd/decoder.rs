//! Reads commands and the bodies of jobs from bytes, however they are divided.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

use super::numbers::{self, NumberError};

/// The longest command, in bytes, with the two that end it.
const LINE_MAX: usize = 224;
/// The longest name of a tube, in bytes.
const NAME_MAX: usize = 200;

/// The ends of lines.
const END: &[u8] = b"\r\n";

/// Reads requests from bytes as they come.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The longest body, in bytes.
    max_body: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Command,
    /// The body of a job is to come.
    Body {
        put: Put,
        length: usize,
    },
    /// So many bytes of a body that is too long are to be passed over.
    Skip {
        left: u64,
    },
    /// The rest of a command that is too long is to be passed over.
    SkipLine,
}

/// One request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    Put(Put, Bytes),
    Command(Command),
    Refused(Refusal),
}

/// The numbers of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) priority: u32,
    /// A time in seconds.
    pub(super) delay: u32,
    /// A time in seconds, at least 1.
    pub(super) time_to_run: u32,
}

/// Why bytes are no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    UnknownCommand,
    BadFormat,
    JobTooBig,
    ExpectedCrlf,
}

/// A command other than `put`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Use(Box<str>),
    Watch(Box<str>),
    Ignore(Box<str>),
    /// For so many seconds at most; `None` is for ever.
    Reserve {
        timeout: Option<u32>,
        has_timeout: bool,
    },
    ReserveJob(u64),
    Delete(u64),
    Release {
        id: u64,
        priority: u32,
        delay: u32,
    },
    Bury {
        id: u64,
        priority: u32,
    },
    Touch(u64),
    Kick(u32),
    KickJob(u64),
    Peek(u64),
    PeekReady,
    PeekDelayed,
    PeekBuried,
    PauseTube {
        tube: Box<str>,
        delay: u32,
    },
    ListTubes,
    ListTubeUsed,
    ListTubesWatched,
    Stats,
    StatsJob(u64),
    StatsTube(Box<str>),
    Quit,
}

impl Decoder {
    pub(super) fn new(max_body: usize) -> Self {
        Self { max_body, state: State::Command }
    }

    /// Takes the next request from the buffer; `None` when more bytes are needed. What stays in the buffer is
    /// no longer than a job and a command.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Option<Request> {
        loop {
            match &mut self.state {
                State::Command => match self.command(buffer)? {
                    Some(request) => return Some(request),
                    None => continue,
                },
                State::Body { put, length } => {
                    let (put, length) = (*put, *length);
                    if buffer.len() < length + END.len() {
                        return None;
                    }
                    self.state = State::Command;
                    let mut body = buffer.split_to(length + END.len());
                    if !body.ends_with(END) {
                        return Some(Request::Refused(Refusal::ExpectedCrlf));
                    }
                    body.truncate(length);
                    return Some(Request::Put(put, body.freeze()));
                }
                State::Skip { left } => {
                    let there = (buffer.len() as u64).min(*left);
                    buffer.advance(there as usize);
                    *left -= there;
                    if *left > 0 {
                        return None;
                    }
                    self.state = State::Command;
                    return Some(Request::Refused(Refusal::JobTooBig));
                }
                State::SkipLine => match memmem::find(buffer, END) {
                    Some(end) => {
                        buffer.advance(end + END.len());
                        self.state = State::Command;
                        return Some(Request::Refused(Refusal::BadFormat));
                    }
                    None => {
                        // Its last byte may be the first half of the end.
                        buffer.advance(buffer.len().saturating_sub(1));
                        return None;
                    }
                },
            }
        }
    }

    /// Takes a command; the inner `None` is one that changes what is read next.
    fn command(&mut self, buffer: &mut BytesMut) -> Option<Option<Request>> {
        let window = &buffer[..buffer.len().min(LINE_MAX)];
        let Some(end) = memmem::find(window, END) else {
            if buffer.len() < LINE_MAX {
                return None;
            }
            self.state = State::SkipLine;
            return Some(None);
        };
        let line = buffer.split_to(end + END.len());
        let line = &line[..end];
        // Text ends at a zero byte in C, so that beanstalkd takes no command with one.
        if line.contains(&0) {
            return Some(Some(Request::Refused(Refusal::BadFormat)));
        }
        let Some(numbers) = line.strip_prefix(b"put ") else {
            let command = Command::parse(line);
            return Some(Some(command.map_or_else(Request::Refused, Request::Command)));
        };
        let Some((put, length)) = Put::parse(numbers) else {
            return Some(Some(Request::Refused(Refusal::BadFormat)));
        };
        self.state = match usize::try_from(length).ok().filter(|length| *length <= self.max_body) {
            Some(length) => State::Body { put, length },
            None => State::Skip { left: u64::from(length) + END.len() as u64 },
        };
        Some(None)
    }
}

impl Put {
    /// The numbers of `put`, the last one being the length of the body.
    fn parse(numbers: &[u8]) -> Option<(Self, u32)> {
        let (priority, rest) = numbers::leading(numbers)?;
        let (delay, rest) = numbers::leading(rest)?;
        let (time_to_run, rest) = numbers::leading::<u32>(rest)?;
        let length = numbers::last(rest)?;
        Some((Self { priority, delay, time_to_run: time_to_run.max(1) }, length))
    }
}

impl Command {
    /// Reads a line. As with beanstalkd, the first of these that it begins with is the command, and what may
    /// not follow makes it one of bad format.
    fn parse(line: &[u8]) -> Result<Self, Refusal> {
        const BAD: Refusal = Refusal::BadFormat;
        let after = |command: &str| line.strip_prefix(command.as_bytes());
        let alone = |rest: &[u8], command| if rest.is_empty() { Ok(command) } else { Err(BAD) };
        if let Some(id) = after("peek ") {
            return numbers::last(id).map(Self::Peek).ok_or(BAD);
        }
        for (command, is) in [
            ("peek-ready", Self::PeekReady),
            ("peek-delayed", Self::PeekDelayed),
            ("peek-buried", Self::PeekBuried),
        ] {
            if let Some(rest) = after(command) {
                return alone(rest, is);
            }
        }
        if let Some(seconds) = after("reserve-with-timeout ") {
            let seconds = match numbers::signed(seconds) {
                Err(NumberError::TooLarge) => return Err(BAD),
                seconds => seconds.unwrap_or(0),
            };
            // A negative one is for ever.
            let timeout = (seconds >= 0).then(|| u32::try_from(seconds).unwrap_or(u32::MAX));
            return Ok(Self::Reserve { timeout, has_timeout: true });
        }
        if let Some(id) = after("reserve-job ") {
            return numbers::last(id).map(Self::ReserveJob).ok_or(BAD);
        }
        if let Some(rest) = after("reserve") {
            return alone(rest, Self::Reserve { timeout: None, has_timeout: false });
        }
        if let Some(id) = after("delete ") {
            return numbers::last(id).map(Self::Delete).ok_or(BAD);
        }
        if let Some(numbers) = after("release ") {
            return Self::release(numbers).ok_or(BAD);
        }
        if let Some(numbers) = after("bury ") {
            return Self::bury(numbers).ok_or(BAD);
        }
        if let Some(count) = after("kick ") {
            let count = numbers::signed(count).map_err(|_| BAD)?;
            return Ok(Self::Kick(u32::try_from(count).unwrap_or(u32::MAX)));
        }
        if let Some(id) = after("kick-job ") {
            return numbers::last(id).map(Self::KickJob).ok_or(BAD);
        }
        if let Some(id) = after("touch ") {
            return numbers::last(id).map(Self::Touch).ok_or(BAD);
        }
        Self::parse_others(line)
    }

    /// Reads the commands that are no change of a job.
    fn parse_others(line: &[u8]) -> Result<Self, Refusal> {
        const BAD: Refusal = Refusal::BadFormat;
        let after = |command: &str| line.strip_prefix(command.as_bytes());
        if let Some(id) = after("stats-job ") {
            return numbers::last(id).map(Self::StatsJob).ok_or(BAD);
        }
        for (command, of) in [
            ("stats-tube ", Self::StatsTube as fn(Box<str>) -> Self),
            ("use ", Self::Use),
            ("watch ", Self::Watch),
            ("ignore ", Self::Ignore),
        ] {
            if let Some(name) = after(command) {
                return tube(name).map(of).ok_or(BAD);
            }
        }
        if let Some(rest) = after("pause-tube ") {
            return Self::pause_tube(rest).ok_or(BAD);
        }
        if after("quit").is_some() {
            return Ok(Self::Quit);
        }
        for (command, is) in [
            ("stats", Self::Stats),
            ("list-tubes-watched", Self::ListTubesWatched),
            ("list-tube-used", Self::ListTubeUsed),
            ("list-tubes", Self::ListTubes),
        ] {
            if let Some(rest) = after(command) {
                return if rest.is_empty() { Ok(is) } else { Err(BAD) };
            }
        }
        Err(Refusal::UnknownCommand)
    }

    fn release(numbers: &[u8]) -> Option<Self> {
        let (id, rest) = numbers::leading(numbers)?;
        let (priority, rest) = numbers::leading(rest)?;
        Some(Self::Release { id, priority, delay: numbers::last(rest)? })
    }

    fn bury(numbers: &[u8]) -> Option<Self> {
        let (id, rest) = numbers::leading(numbers)?;
        Some(Self::Bury { id, priority: numbers::last(rest)? })
    }

    fn pause_tube(rest: &[u8]) -> Option<Self> {
        let end = memchr::memchr(b' ', rest)?;
        Some(Self::PauseTube { tube: tube(&rest[..end])?, delay: numbers::last(&rest[end..])? })
    }
}

/// A valid name of a tube.
fn tube(name: &[u8]) -> Option<Box<str>> {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+/;.$_()".contains(byte);
    let is_valid = (1..=NAME_MAX).contains(&name.len()) && name[0] != b'-' && name.iter().all(is_letter);
    std::str::from_utf8(name).ok().filter(|_| is_valid).map(Into::into)
}

#[cfg(test)]
mod tests;
