//! What a function's arguments look like, and all else that its clients may want to know of it.

use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::cron_spec::{MissedRunPolicy, OverlapPolicy};
use super::handler::Handler;
use super::task_type::TaskOptions;

/// A function as its clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HandlerInfo {
    pub name: String,
    /// The doc comment of its struct.
    pub description: Option<String>,
    pub queue: String,
    /// 0 to 9; 9 is taken first.
    pub priority: u8,
    /// How many attempts may fail before the task has failed.
    pub attempts: u32,
    /// The longest an attempt may take; `None` is for ever.
    pub timeout_ms: Option<u64>,
    /// What the pause after the first failed attempt is about; it doubles with every further one.
    pub backoff_ms: u64,
    /// How many tasks of one `concurrency_key` may run at once.
    pub concurrency: u32,
    /// How long ended tasks are kept, if the function has a time of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
    /// Whether the handler blocks its thread.
    pub blocking: bool,
    /// Whether attempts run in child processes of the server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// The cron settings, if the function runs on a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<CronInfo>,
    /// The package, the file and the line of its code; empty when workers have registered it.
    pub package: String,
    pub file: String,
    pub line: u32,
    /// Whether workers have registered it, and its code is not in the server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub registered: bool,
    /// The workers that run it, if it is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<FunctionWorkers>,
    /// The JSON Schema of its arguments, draft 2020-12.
    pub schema: Schema,
}

/// The workers outside of the server that run a registered function at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FunctionWorkers {
    pub count: usize,
    /// The names of the first of them, at most [`FunctionWorkers::NAMES_MAX`].
    pub names: Vec<String>,
    /// When one was last there, in milliseconds since 1970; `null` while one is.
    pub unserved_since_ms: Option<u64>,
}

impl FunctionWorkers {
    /// The most names that are listed.
    pub const NAMES_MAX: usize = 20;
}

/// The cron settings of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CronInfo {
    pub expression: String,
    pub timezone: String,
    pub missed: MissedRunPolicy,
    pub overlap: OverlapPolicy,
}

impl Handler {
    /// The function as it is described to clients.
    pub fn describe(&self) -> HandlerInfo {
        HandlerInfo::of(self)
    }
}

impl HandlerInfo {
    fn of(handler: &Handler) -> Self {
        let options = &handler.options;
        let (name, queue) = (handler.name.to_owned(), options.queue.to_owned());
        Self {
            package: handler.package.to_owned(),
            file: handler.file.to_owned(),
            line: handler.line,
            registered: false,
            ..Self::new(name, queue, options, handler.schema())
        }
    }

    /// A function whose code is not here.
    pub(super) fn new(name: String, queue: String, options: &TaskOptions, schema: Schema) -> Self {
        Self {
            name,
            description: schema.get("description").and_then(|text| text.as_str()).map(str::to_owned),
            queue,
            priority: options.priority,
            attempts: options.attempts,
            timeout_ms: options.timeout.map(|timeout| timeout.as_millis() as u64),
            backoff_ms: options.backoff.as_millis() as u64,
            concurrency: options.concurrency,
            retention_ms: options.retention.map(|time| time.as_millis() as u64),
            blocking: options.blocking,
            isolated: options.isolated,
            cron: options.cron.map(|spec| CronInfo {
                expression: spec.cron.to_owned(),
                timezone: spec.timezone.to_owned(),
                missed: spec.missed,
                overlap: spec.overlap,
            }),
            package: String::new(),
            file: String::new(),
            line: 0,
            registered: true,
            workers: None,
            schema,
        }
    }
}

/// The schema of what is read as a `T`; what `#[derive(Task)]` calls.
#[doc(hidden)]
pub fn schema_of<T: JsonSchema>() -> Schema {
    SchemaGenerator::default().into_root_schema_for::<T>()
}

/// The schema of any `T`, whether it has one or not; what `#[derive(Task)]` calls.
///
/// Its own methods are there for a `T` with a schema, and go before those of [`AnyValue`], which are always
/// there.
#[doc(hidden)]
#[derive(Debug)]
pub struct SchemaOf<T>(PhantomData<T>);

impl<T> Default for SchemaOf<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> SchemaOf<T> {
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: JsonSchema> SchemaOf<T> {
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }

    /// Of something whose fields are those of the struct around it.
    pub fn flat_schema(&self, generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The schema of a type that has none: any value.
#[doc(hidden)]
pub trait AnyValue {
    fn schema(&self, _generator: &mut SchemaGenerator) -> Schema {
        true.into()
    }

    fn flat_schema(&self, _generator: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

impl<T> AnyValue for SchemaOf<T> {}

#[cfg(test)]
mod tests;
