//! One message as a request: a task, a command, a call for help, or raw data.

mod intent;
mod reply_mode;
#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use self::intent::{data, names_a_request};
pub use self::reply_mode::ReplyMode;
pub use self::value::TimeSpec;
use self::value::{FieldValue, backoff, key, moment, names, number, read, span, tags_of, text, when};
use crate::command::CommandRequest;
use crate::error::{RequestError, ShownName};
use crate::tags::Tags;

/// The most attempts that the settings may allow a task.
pub const ATTEMPTS_MAX: u32 = 1_000_000;
/// The byte order mark of UTF-8, with which some editors begin a file.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The longest `id`, in bytes of JSON: it is kept while a client waits.
const ID_MAX: usize = 256;

/// The command that exchanges a token for rights, which also begins a line `auth SECRET`.
pub const AUTH: &str = "auth";

/// A parsed message, borrowed from its bytes.
#[derive(Debug)]
pub enum Message<'a> {
    /// A JSON object with `"function"`.
    Task(TaskRequest<'a>),
    /// A JSON object with `"command"`.
    Command(CommandRequest<'a>),
    /// A single `?`.
    Help,
    /// Nothing, or white space.
    Empty,
    /// Raw data: what is none of the others.
    Data(&'a [u8]),
}

/// A request for a task. Fields that are `None` are left to the handler's own options.
#[derive(Debug, Default)]
pub struct TaskRequest<'a> {
    /// The handler's name; `None` means the configured `default_function`.
    pub function: Option<Cow<'a, str>>,
    /// The handler's arguments as JSON; `None` and `null` suit a handler without arguments.
    pub args: Option<&'a RawValue>,
    /// Echoed in every reply to this request; any JSON scalar of at most 256 bytes.
    pub id: Option<&'a RawValue>,
    pub reply: Option<ReplyMode>,
    pub queue: Option<Cow<'a, str>>,
    /// The priority, 0 to 9; 9 is taken first.
    pub priority: Option<u8>,
    /// The earliest time at which it may start: the wire's `delay` or `at`.
    pub due: Option<TimeSpec>,
    pub attempts: Option<u32>,
    pub timeout: Option<Duration>,
    /// The fields that few requests have.
    pub extra: Option<Box<ExtraFields<'a>>>,
}

/// The fields of a task that few requests have; boxed, so that the others stay small.
#[derive(Debug, Default)]
pub struct ExtraFields<'a> {
    /// The time at which the task expires if no attempt has begun; a span counts from its acceptance.
    pub expires: Option<TimeSpec>,
    /// The idempotency key, 1 to 256 bytes: a second request with it is the first one again.
    pub key: Option<Cow<'a, str>>,
    /// The concurrency key, 1 to 256 bytes: as many tasks with it run at once as the handler's `concurrency`
    /// allows.
    pub concurrency_key: Option<Cow<'a, str>>,
    /// The mean pause after the first failed attempt.
    pub backoff: Option<Duration>,
    /// The id of an open batch that the task belongs to.
    pub batch: Option<u64>,
    /// The functions to run one after the other when the task is done, each with the result of the one
    /// before.
    pub then: Vec<Cow<'a, str>>,
    pub tags: Tags,
}

/// The error of a malformed request, with the `id` to echo.
#[derive(Debug)]
pub struct ParseError<'a> {
    pub refusal: RequestError,
    pub id: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Parses one message; a byte order mark before it is skipped. Only what was meant as JSON can be
    /// malformed: an object that names a `function` or a `command`, an array, and UTF-16. Everything else is
    /// data, except `auth SECRET`: a token never becomes data, whenever and wherever it is shown.
    ///
    /// # Errors
    /// When the JSON is broken, or a field is unknown, repeated, or of the wrong type.
    pub fn parse(line: &'a [u8]) -> Result<Self, ParseError<'a>> {
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            Some(b'?') if line.trim_ascii() == b"?" => return Ok(Self::Help),
            Some(b'a' | b'A') => {
                return Ok(bare_token(line).map_or(Self::Data(line), |token| Self::Command(auth(token))));
            }
            Some(_) => return data(line).map_err(|refusal| ParseError { refusal, id: None }),
            None => return Ok(Self::Empty),
        }
        let fields = match serde_json::from_slice::<Fields>(line) {
            Ok(fields) => fields,
            Err(error) if names_a_request(line) => {
                return Err(ParseError { refusal: RequestError::broken_json(&error), id: None });
            }
            Err(_) => return Ok(Self::Data(line)),
        };
        let id = fields.id;
        let read = match (fields.function, fields.command) {
            (Some(function), None) => fields.task(function).map(Self::Task),
            // Some commands have a field "function", too.
            (_, Some(_)) => CommandRequest::read(line).and_then(check_id).map(Self::Command),
            (None, None) => Ok(Self::Data(line)),
        };
        read.map_err(|refusal| ParseError { refusal, id: id.filter(|id| is_echoed(id)) })
    }
}

/// The token of a line `auth SECRET`.
fn bare_token(line: &[u8]) -> Option<&[u8]> {
    let (word, token) = line.trim_ascii().split_at_checked(AUTH.len())?;
    let is_auth = word.eq_ignore_ascii_case(AUTH.as_bytes()) && token.first()?.is_ascii_whitespace();
    is_auth.then(|| token.trim_ascii())
}

fn auth<'a>(token: &[u8]) -> CommandRequest<'a> {
    CommandRequest::new(AUTH, [("token", Value::from(String::from_utf8_lossy(token)))])
}

fn check_id(request: CommandRequest) -> Result<CommandRequest, RequestError> {
    scalar(request.id).map(|()| request)
}

fn scalar(id: Option<&RawValue>) -> Result<(), RequestError> {
    if id.is_none_or(is_echoed) {
        return Ok(());
    }
    let expected = "a string, a number, true, false or null, of at most";
    Err(RequestError::bad_request(format!("\"id\" must be {expected} {ID_MAX} bytes.")))
}

/// True for an `id` that replies repeat: a scalar within the bound.
fn is_echoed(value: &RawValue) -> bool {
    !value.get().starts_with(['{', '[']) && value.get().len() <= ID_MAX
}

/// The fields as raw values: whether they matter is known only once all of them were seen.
#[derive(Default)]
struct Fields<'a> {
    function: Option<&'a RawValue>,
    command: Option<&'a RawValue>,
    args: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    options: Options<&'a RawValue>,
    unknown: Option<String>,
    repeated: Option<&'static str>,
}

/// The options of a task as they stand, not yet read.
struct Options<V> {
    reply: Option<V>,
    queue: Option<V>,
    priority: Option<V>,
    delay: Option<V>,
    attempts: Option<V>,
    timeout: Option<V>,
    at: Option<V>,
    expires: Option<V>,
    key: Option<V>,
    concurrency_key: Option<V>,
    backoff: Option<V>,
    batch: Option<V>,
    then: Option<V>,
    tags: Option<V>,
}

const FIELDS: [&str; 17] = [
    "function",
    "args",
    "id",
    "reply",
    "queue",
    "priority",
    "delay",
    "at",
    "attempts",
    "timeout",
    "expires",
    "key",
    "concurrency_key",
    "backoff",
    "batch",
    "then",
    "tags",
];

impl<V> Default for Options<V> {
    fn default() -> Self {
        Self {
            reply: None,
            queue: None,
            priority: None,
            delay: None,
            attempts: None,
            timeout: None,
            at: None,
            expires: None,
            key: None,
            concurrency_key: None,
            backoff: None,
            batch: None,
            then: None,
            tags: None,
        }
    }
}

impl<V> Options<V> {
    fn slot(&mut self, key: &str) -> Option<(&'static str, &mut Option<V>)> {
        Some(match key {
            "reply" => ("reply", &mut self.reply),
            "queue" => ("queue", &mut self.queue),
            "priority" => ("priority", &mut self.priority),
            "delay" => ("delay", &mut self.delay),
            "attempts" => ("attempts", &mut self.attempts),
            "timeout" => ("timeout", &mut self.timeout),
            "at" => ("at", &mut self.at),
            "expires" => ("expires", &mut self.expires),
            "key" => ("key", &mut self.key),
            "concurrency_key" => ("concurrency_key", &mut self.concurrency_key),
            "backoff" => ("backoff", &mut self.backoff),
            "batch" | "batch_id" => ("batch", &mut self.batch),
            "then" => ("then", &mut self.then),
            "tags" => ("tags", &mut self.tags),
            _ => return None,
        })
    }
}

impl<'a, V: FieldValue<'a>> Options<V> {
    /// A request with these options, and nothing else yet.
    fn read(self) -> Result<TaskRequest<'a>, RequestError> {
        Ok(TaskRequest {
            reply: read("reply", "\"ack\", \"result\", \"both\" or \"none\"", self.reply)?,
            queue: text("queue", "a string", self.queue)?,
            priority: number("priority", 0, 9, self.priority)?,
            due: self.due()?,
            attempts: number("attempts", 1, ATTEMPTS_MAX, self.attempts)?,
            timeout: span("timeout", self.timeout)?,
            extra: self.extra()?,
            ..TaskRequest::default()
        })
    }

    fn due(&self) -> Result<Option<TimeSpec>, RequestError> {
        match (span("delay", self.delay)?, moment("at", self.at)?) {
            (Some(_), Some(_)) => {
                Err(RequestError::bad_request("A task has a \"delay\" or an \"at\", not both."))
            }
            (delay, at) => Ok(delay.map(TimeSpec::After).or(at.map(TimeSpec::At))),
        }
    }

    fn extra(&self) -> Result<Option<Box<ExtraFields<'a>>>, RequestError> {
        let fields =
            [self.expires, self.key, self.concurrency_key, self.backoff, self.batch, self.then, self.tags];
        if fields.iter().all(Option::is_none) {
            return Ok(None);
        }
        Ok(Some(Box::new(ExtraFields {
            expires: when("expires", self.expires)?,
            key: key("key", self.key)?,
            concurrency_key: key("concurrency_key", self.concurrency_key)?,
            backoff: backoff(self.backoff)?,
            batch: read("batch", "the number of a batch", self.batch)?,
            then: names("then", self.then)?,
            tags: tags_of(self.tags)?,
        })))
    }
}

impl<'a> TaskRequest<'a> {
    /// A request whose options are named values, as those of a URL are; without a function and arguments.
    ///
    /// # Errors
    /// When there is no option of a name, or its value is not what the option takes.
    pub fn with_options(
        options: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Result<Self, RequestError> {
        let mut fields = Options::default();
        for (name, value) in options {
            let Some((_, slot)) = fields.slot(name) else { return Err(unknown_field(name)) };
            *slot = Some(value);
        }
        fields.read()
    }
}

fn unknown_field(name: &str) -> RequestError {
    RequestError::bad_request(format!("A request has no field {}.", ShownName(name))).suggesting(name, FIELDS)
}

impl<'a> Fields<'a> {
    fn task(self, function: &'a RawValue) -> Result<TaskRequest<'a>, RequestError> {
        self.check()?;
        Ok(TaskRequest {
            function: text("function", "a string or null", Some(function))?,
            args: self.args,
            id: self.id,
            ..self.options.read()?
        })
    }

    fn check(&self) -> Result<(), RequestError> {
        if let Some(name) = &self.unknown {
            return Err(unknown_field(name));
        }
        if let Some(name) = self.repeated {
            return Err(RequestError::bad_request(format!("The field \"{name}\" stands twice.")));
        }
        scalar(self.id)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
                let mut fields = Fields::default();
                while let Some(Key(key)) = map.next_key()? {
                    let Some((name, slot)) = fields.slot(&key) else {
                        map.next_value::<IgnoredAny>()?;
                        fields.unknown.get_or_insert_with(|| key.into_owned());
                        continue;
                    };
                    if slot.replace(map.next_value()?).is_some() {
                        fields.repeated = Some(name);
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Fields<'a> {
    fn slot(&mut self, key: &str) -> Option<(&'static str, &mut Option<&'a RawValue>)> {
        Some(match key {
            "function" => ("function", &mut self.function),
            "args" => ("args", &mut self.args),
            "id" => ("id", &mut self.id),
            "command" => ("command", &mut self.command),
            _ => return self.options.slot(key),
        })
    }
}
