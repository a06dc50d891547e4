//! One line as a request: a task, a command, a call for help, or raw data.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::refusal::{Code, Refusal};

/// What one message asks for; borrowed from its bytes.
#[derive(Debug)]
pub enum Message<'a> {
    /// A JSON object with `"function"`.
    Task(TaskRequest<'a>),
    /// A JSON object with `"command"`.
    Command(CommandRequest<'a>),
    /// A single `?`.
    Help,
    /// Anything else.
    Data(&'a [u8]),
}

/// A task as a client describes it. What is `None` is decided by the handler's own options.
#[derive(Debug, Default)]
pub struct TaskRequest<'a> {
    /// The handler's name; `None` means the configured `default_function`.
    pub function: Option<Cow<'a, str>>,
    /// The handler's arguments as JSON; `None` and `null` are what a handler without arguments expects.
    pub args: Option<&'a RawValue>,
    /// Echoed in every reply to this request; any JSON scalar.
    pub id: Option<&'a RawValue>,
    pub reply: Option<ReplyMode>,
    pub queue: Option<Cow<'a, str>>,
    /// 0 to 9; 9 is taken first.
    pub priority: Option<u8>,
    pub delay: Option<Duration>,
    pub attempts: Option<u32>,
    pub timeout: Option<Duration>,
}

/// A question of the console's clients.
#[derive(Debug)]
pub struct CommandRequest<'a> {
    pub command: Cow<'a, str>,
    pub id: Option<&'a RawValue>,
}

/// Which replies a task request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplyMode {
    /// The id, as soon as the task is accepted.
    #[default]
    Ack,
    /// The outcome, when the task has ended.
    Result,
    /// Both of them.
    Both,
    /// Nothing, unless the request is refused.
    None,
}

impl ReplyMode {
    /// Whether the outcome is to be sent.
    pub fn awaits(self) -> bool {
        matches!(self, Self::Result | Self::Both)
    }
}

/// A request that is not understood, with the `id` to echo in the error.
#[derive(Debug)]
pub struct Misunderstood<'a> {
    pub refusal: Refusal,
    pub id: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Reads one message. Only an object that names a `function` or a `command` can be misunderstood; whatever
    /// else it is, it is data.
    pub fn parse(line: &'a [u8]) -> Result<Self, Misunderstood<'a>> {
        match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            Some(b'?') if line.trim_ascii() == b"?" => return Ok(Self::Help),
            _ => return Ok(Self::Data(line)),
        }
        let Ok(fields) = serde_json::from_slice::<Fields>(line) else { return Ok(Self::Data(line)) };
        let id = fields.id;
        let read = match (fields.function, fields.command) {
            (Some(_), Some(_)) => Err(bad("A request has a \"function\" or a \"command\", not both.")),
            (Some(function), None) => fields.task(function).map(Self::Task),
            (None, Some(command)) => fields.command(command).map(Self::Command),
            (None, None) => Ok(Self::Data(line)),
        };
        read.map_err(|refusal| Misunderstood { refusal, id: id.filter(|id| is_scalar(id)) })
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}

fn is_scalar(value: &RawValue) -> bool {
    !value.get().starts_with(['{', '['])
}

/// The fields as they stand, not yet read: whether they matter is known only once all of them were seen.
#[derive(Default)]
struct Fields<'a> {
    function: Option<&'a RawValue>,
    command: Option<&'a RawValue>,
    args: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    reply: Option<&'a RawValue>,
    queue: Option<&'a RawValue>,
    priority: Option<&'a RawValue>,
    delay: Option<&'a RawValue>,
    attempts: Option<&'a RawValue>,
    timeout: Option<&'a RawValue>,
    unknown: Option<String>,
    repeated: Option<&'static str>,
}

const FIELDS: [&str; 9] =
    ["function", "args", "id", "reply", "queue", "priority", "delay", "attempts", "timeout"];

impl<'a> Fields<'a> {
    fn task(self, function: &'a RawValue) -> Result<TaskRequest<'a>, Refusal> {
        self.check()?;
        Ok(TaskRequest {
            function: text("function", "a string or null", Some(function))?,
            args: self.args,
            id: self.id,
            reply: read("reply", "\"ack\", \"result\", \"both\" or \"none\"", self.reply)?,
            queue: text("queue", "a string", self.queue)?,
            priority: read("priority", "a number from 0 to 9", self.priority)?
                .map(|priority: u8| match priority {
                    0..=9 => Ok(priority),
                    _ => Err(bad("\"priority\" must be a number from 0 to 9.")),
                })
                .transpose()?,
            delay: span("delay", self.delay)?,
            attempts: read("attempts", "a number of at least 1", self.attempts)?
                .map(|attempts: u32| match attempts {
                    0 => Err(bad("\"attempts\" must be a number of at least 1.")),
                    _ => Ok(attempts),
                })
                .transpose()?,
            timeout: span("timeout", self.timeout)?,
        })
    }

    fn command(self, command: &'a RawValue) -> Result<CommandRequest<'a>, Refusal> {
        self.check()?;
        let command = text("command", "a string", Some(command))?;
        Ok(CommandRequest {
            command: command.ok_or_else(|| bad("\"command\" must be a string."))?,
            id: self.id,
        })
    }

    fn check(&self) -> Result<(), Refusal> {
        if let Some(name) = &self.unknown {
            let refusal = bad(format!("A request has no field \"{name}\"."));
            return Err(refusal.suggesting(name, FIELDS));
        }
        if let Some(name) = self.repeated {
            return Err(bad(format!("The field \"{name}\" stands twice.")));
        }
        match self.id {
            Some(id) if !is_scalar(id) => Err(bad("\"id\" must be a string, a number, true, false or null.")),
            _ => Ok(()),
        }
    }
}

/// A field's value; absent and `null` are `None`.
fn read<'a, T: Deserialize<'a>>(
    name: &str,
    expected: &str,
    value: Option<&'a RawValue>,
) -> Result<Option<T>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    serde_json::from_str(value.get()).map_err(|_| bad(format!("\"{name}\" must be {expected}.")))
}

fn text<'a>(
    name: &str,
    expected: &str,
    value: Option<&'a RawValue>,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(read::<Text<'a>>(name, expected, value)?.map(|text| text.0))
}

/// A time span: a number of seconds, or a text such as `"90s"` or `"1h 30m"`.
fn span(name: &str, value: Option<&RawValue>) -> Result<Option<Duration>, Refusal> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Span<'a> {
        Seconds(f64),
        Text(#[serde(borrow)] Cow<'a, str>),
    }
    /// Beyond a century a due time is a mistake, and would overflow further on.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    let expected = "seconds, or a text such as \"90s\" or \"1h 30m\", and at most 100 years";
    let span = match read(name, expected, value)? {
        None => return Ok(None),
        Some(Span::Seconds(seconds)) => Duration::try_from_secs_f64(seconds).ok(),
        Some(Span::Text(text)) => humantime::parse_duration(&text).ok(),
    };
    match span.filter(|span| *span <= LONGEST) {
        Some(span) => Ok(Some(span)),
        None => Err(bad(format!("\"{name}\" must be {expected}."))),
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
            "reply" => ("reply", &mut self.reply),
            "command" => ("command", &mut self.command),
            "queue" => ("queue", &mut self.queue),
            "priority" => ("priority", &mut self.priority),
            "delay" => ("delay", &mut self.delay),
            "attempts" => ("attempts", &mut self.attempts),
            "timeout" => ("timeout", &mut self.timeout),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Refusal {
        Message::parse(line.as_bytes()).expect_err(line).refusal
    }

    fn task(line: &str) -> TaskRequest<'_> {
        match Message::parse(line.as_bytes()) {
            Ok(Message::Task(task)) => task,
            other => panic!("{line} is {other:?}"),
        }
    }

    #[test]
    fn a_function_and_its_arguments_are_enough() {
        let request = task(r#"{"function":"send_mail","args":{"to":"ada@example.com"}}"#);
        assert_eq!(request.function.as_deref(), Some("send_mail"));
        assert_eq!(request.args.map(RawValue::get), Some(r#"{"to":"ada@example.com"}"#));
    }

    #[test]
    fn null_as_function_means_the_default() {
        assert_eq!(task(r#"{"function":null,"args":{}}"#).function, None);
    }

    #[test]
    fn what_names_no_function_is_data_whatever_its_other_fields_hold() {
        let lines =
            ["hello", "", "{", "{}", "[1]", r#"{"priority":"high","to":"x","id":{}}"#, "\u{0}\u{ff}", "??"];
        for line in lines {
            assert!(matches!(Message::parse(line.as_bytes()), Ok(Message::Data(_))), "{line:?}");
        }
        assert!(matches!(Message::parse(b"{\"function\":\"\xff\"}"), Ok(Message::Data(_))));
    }

    #[test]
    fn a_question_mark_asks_for_help() {
        assert!(matches!(Message::parse(b" ? "), Ok(Message::Help)));
    }

    #[test]
    fn every_option_is_read() {
        let request = task(
            r#"{"function":"f","id":"a","reply":"both","queue":"mail","priority":9,"delay":"10m","attempts":2,"timeout":1.5}"#,
        );
        assert_eq!(request.reply, Some(ReplyMode::Both));
        assert_eq!(request.queue.as_deref(), Some("mail"));
        assert_eq!(request.priority, Some(9));
        assert_eq!(request.delay, Some(Duration::from_secs(600)));
        assert_eq!(request.attempts, Some(2));
        assert_eq!(request.timeout, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn a_misspelled_field_is_named_with_the_near_one() {
        let refusal = refused(r#"{"function":"echo","dealy":5}"#);
        assert_eq!(refusal.code, Code::BadRequest);
        assert_eq!(refusal.suggestion.as_deref(), Some("delay"));
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (line, named) in [
            (r#"{"function":5}"#, "\"function\""),
            (r#"{"function":"f","priority":10}"#, "\"priority\""),
            (r#"{"function":"f","attempts":0}"#, "\"attempts\""),
            (r#"{"function":"f","delay":-1}"#, "\"delay\""),
            (r#"{"function":"f","delay":1e300}"#, "\"delay\""),
            (r#"{"function":"f","delay":"soon"}"#, "\"delay\""),
            (r#"{"function":"f","reply":"maybe"}"#, "\"reply\""),
            (r#"{"function":"f","id":[1]}"#, "\"id\""),
            (r#"{"function":"f","id":1,"id":2}"#, "\"id\""),
            (r#"{"function":"f","command":"status"}"#, "not both"),
            (r#"{"command":null}"#, "\"command\""),
        ] {
            let refusal = refused(line);
            assert!(refusal.message.contains(named), "{line}: {refusal}");
        }
    }

    #[test]
    fn the_id_of_a_misunderstood_request_is_kept_for_its_error() {
        let misunderstood = Message::parse(br#"{"function":5,"id":"a1"}"#).expect_err("refused");
        assert_eq!(misunderstood.id.map(RawValue::get), Some("\"a1\""));
    }
}
