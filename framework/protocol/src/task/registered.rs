//! A function that workers outside of this program run, as they have registered it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framework_console::config::duration;
use schemars::Schema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::HandlerInfo;
use super::{NewTask, TaskOptions};
use crate::error::{RequestError, ShownName};
use crate::request::ATTEMPTS_MAX;

/// The longest name of a function or a queue, in bytes.
const NAME_MAX: usize = 128;
const PRIORITY_MAX: u8 = 9;
const CONCURRENCY_MAX: u32 = 1_000_000;
/// A century; longer times would overflow.
const TIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What a worker registers of a function: its name, the defaults of its tasks, and the schema of its
/// arguments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    pub name: String,
    /// The queue of its tasks; by default of the function's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeSpan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<TimeSpan>,
    /// How many tasks of one `concurrency_key` may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The JSON Schema of the arguments; without it any JSON will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Another schema that was registered before is replaced, also while workers with it are there.
    #[serde(default, skip_serializing)]
    pub replaces: bool,
}

/// A time such as `30s`, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeSpan(#[serde(with = "duration")] pub Duration);

/// Checks arguments against the schema of a function.
pub type ArgumentCheck = Box<dyn Fn(&[u8]) -> Result<(), RequestError> + Send + Sync>;

/// A function that workers outside of this program run.
pub struct RegisteredFunction {
    pub registration: Registration,
    pub(super) function: Arc<str>,
    pub(super) queue: Arc<str>,
    /// The defaults of its tasks; the queue stands apart.
    options: TaskOptions,
    check: ArgumentCheck,
}

impl Registration {
    /// Whether nothing but the name is said.
    pub fn is_bare(&self) -> bool {
        let Self { queue, priority, attempts, timeout, backoff, concurrency, schema, .. } = self;
        let has_times = timeout.is_some() || backoff.is_some();
        let has_numbers = priority.is_some() || attempts.is_some() || concurrency.is_some();
        !has_times && !has_numbers && queue.is_none() && schema.is_none()
    }

    /// A function of which nothing but the name is said.
    pub fn named(name: String) -> Self {
        let (queue, priority, attempts, timeout, backoff, concurrency, schema) = Default::default();
        Self { name, queue, priority, attempts, timeout, backoff, concurrency, schema, replaces: false }
    }

    /// Reads what is kept of a function.
    ///
    /// # Errors
    /// It is damaged.
    pub fn of_record(name: &str, kept: &str) -> Result<Self, RequestError> {
        let read = serde_json::from_str::<Self>(kept);
        let registration = read.map_err(|error| RequestError::bad_request(format!("{error}.")))?;
        registration.validate()?;
        if registration.name != name {
            let message = format!("It is that of the function {}.", ShownName(&registration.name));
            return Err(RequestError::bad_request(message));
        }
        Ok(registration)
    }

    /// Checks names and bounds.
    ///
    /// # Errors
    /// The first field that is not within its bounds.
    pub fn validate(&self) -> Result<(), RequestError> {
        let wrong = |what: &str| Err(RequestError::bad_request(format!("A function's {what}.")));
        let is_time = |time: Option<TimeSpan>| time.is_none_or(|time| time.0 <= TIME_MAX);
        if !is_name(&self.name) || !self.queue.as_deref().is_none_or(is_name) {
            return wrong(
                "\"name\" and \"queue\" must be 1 to 128 letters, digits, \"_\", \"-\", \".\" and \":\"",
            );
        }
        if self.priority.is_some_and(|priority| priority > PRIORITY_MAX) {
            return wrong("\"priority\" must be a number from 0 to 9");
        }
        if self.attempts.is_some_and(|attempts| !(1..=ATTEMPTS_MAX).contains(&attempts)) {
            return wrong("\"attempts\" must be a number from 1 to 1000000");
        }
        if self.concurrency.is_some_and(|concurrency| !(1..=CONCURRENCY_MAX).contains(&concurrency)) {
            return wrong("\"concurrency\" must be a number from 1 to 1000000");
        }
        if !is_time(self.timeout) || !is_time(self.backoff) {
            return wrong("\"timeout\" and \"backoff\" must be at most 100 years");
        }
        if self.schema.as_ref().is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            return wrong("\"schema\" must be a JSON Schema: an object, true or false");
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_letter)
}

impl RegisteredFunction {
    /// A function of a registration that was validated; `check` is made of its schema.
    pub fn new(registration: Registration, check: ArgumentCheck) -> Self {
        let span = |time: Option<TimeSpan>, default| time.map_or(default, |TimeSpan(time)| time);
        let default = TaskOptions::DEFAULT;
        let options = TaskOptions {
            priority: registration.priority.unwrap_or(default.priority),
            attempts: registration.attempts.unwrap_or(default.attempts),
            timeout: registration.timeout.map(|TimeSpan(time)| time).or(default.timeout),
            backoff: span(registration.backoff, default.backoff),
            concurrency: registration.concurrency.unwrap_or(default.concurrency),
            ..default
        };
        let function: Arc<str> = registration.name.as_str().into();
        let queue = registration.queue.as_deref().map_or_else(|| function.clone(), Into::into);
        Self { registration, function, queue, options, check }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.function
    }

    pub fn queue(&self) -> &Arc<str> {
        &self.queue
    }

    /// Checks that `args` fit the schema.
    ///
    /// # Errors
    /// The place in the arguments, and what is wrong there.
    pub fn check(&self, args: &[u8]) -> Result<(), RequestError> {
        (self.check)(args)
    }

    /// A task with the registered defaults; `args` are not checked.
    pub fn task(&self, args: Bytes) -> NewTask {
        NewTask::with_options(self.function.clone(), self.queue.clone(), &self.options, args)
    }

    /// The function as it is described to clients.
    pub fn describe(&self) -> HandlerInfo {
        let schema = self.registration.schema.clone().unwrap_or(Value::Bool(true));
        let schema = Schema::try_from(schema).unwrap_or_default();
        let name = self.function.as_ref().to_owned();
        HandlerInfo::new(name, self.queue.as_ref().to_owned(), &self.options, schema)
    }
}

impl fmt::Debug for RegisteredFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.registration.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(json: &str) -> Registration {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn registered_function_has_a_queue_of_its_own_name_and_the_defaults_of_all() {
        let function = RegisteredFunction::new(registration(r#"{"name":"resize"}"#), Box::new(|_| Ok(())));
        let task = function.task("null".into());
        assert_eq!((&*task.function, &*task.queue, task.attempts), ("resize", "resize", 1));
        let own = registration(r#"{"name":"resize","queue":"images","attempts":3,"timeout":"30s"}"#);
        let task = RegisteredFunction::new(own, Box::new(|_| Ok(()))).task("null".into());
        assert_eq!((&*task.queue, task.attempts), ("images", 3));
        assert_eq!(task.timeout, Some(Duration::from_secs(30)));
    }

    #[test]
    fn validate_names_what_is_out_of_bounds() {
        for (json, field) in [
            (r#"{"name":""}"#, "name"),
            (r#"{"name":"a b"}"#, "name"),
            (r#"{"name":"a","queue":"\n"}"#, "queue"),
            (r#"{"name":"a","priority":10}"#, "priority"),
            (r#"{"name":"a","attempts":0}"#, "attempts"),
            (r#"{"name":"a","concurrency":0}"#, "concurrency"),
            (r#"{"name":"a","timeout":1e12}"#, "timeout"),
            (r#"{"name":"a","schema":"text"}"#, "schema"),
        ] {
            let error = registration(json).validate().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{field}\"")), "{error}");
        }
        assert_eq!(registration(r#"{"name":"app:resize-1.b","schema":{}}"#).validate(), Ok(()));
    }
}
