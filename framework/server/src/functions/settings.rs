//! The section `functions`: the settings of config/functions.toml.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use framework_console::config::{Config, Secret, Section, size};
use framework_console::files;
use framework_protocol::task::{Registration, TaskOptions, TimeSpan};
use schemars::Schema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::processes::CommandLine;
use crate::schedule::Arguments;

/// The highest value of `nice`.
const NICE_MAX: u8 = 19;

/// The functions by their names, each a table of config/functions.toml.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FunctionSettings {
    pub functions: BTreeMap<String, FunctionEntry>,
}

/// One table: a `command` or a `url`, and the defaults of the function's tasks, as `#[task(..)]` has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FunctionEntry {
    /// The program that runs one attempt.
    pub(super) command: Option<CommandLine>,
    /// The directory that it runs in, relative to the project's root.
    pub directory: PathBuf,
    /// Variables beside those of the server.
    pub environment: BTreeMap<String, Secret>,
    /// The most memory that it may map (RLIMIT_AS).
    pub max_memory: Option<MemorySize>,
    /// How far it stands back behind other processes, 0 to 19.
    pub nice: u8,
    /// The URL that the arguments are sent to.
    pub url: Option<String>,
    /// The key of the signature, by Standard Webhooks: `whsec_` and base64.
    pub secret: Secret,
    /// Authorities (PEM) that are trusted beside the well-known ones, relative to the project's root.
    pub ca_file: Option<PathBuf>,
    /// Permits an address of this machine or of a private network, and plain `http`.
    pub allow_private: bool,
    pub description: Option<String>,
    pub queue: Option<String>,
    pub priority: Option<u8>,
    pub attempts: Option<u32>,
    pub timeout: Option<TimeSpan>,
    pub backoff: Option<TimeSpan>,
    pub concurrency: Option<u32>,
    /// The JSON Schema of the arguments: a table, or the path of a file relative to the project's root.
    pub schema: Option<Arguments>,
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemorySize(#[serde(with = "size")] pub usize);

impl Section for FunctionSettings {
    const NAME: &'static str = "functions";
    const TABLE: Option<&'static str> = Some("function");
}

framework_console::section!(FunctionSettings);

impl FunctionEntry {
    /// The defaults of the tasks and the schema, checked as those of a worker are.
    ///
    /// # Errors
    /// The rest of a sentence that begins with the name of the function.
    pub(super) fn registration(&self, name: &str, config: &Config) -> Result<Registration, String> {
        let schema = match &self.schema {
            Some(Arguments(Value::String(file))) => Some(read_schema(&config.path(file), file)?),
            Some(Arguments(schema)) => Some(schema.clone()),
            None => None,
        };
        let registration = Registration {
            name: name.to_owned(),
            queue: self.queue.clone(),
            priority: self.priority,
            attempts: self.attempts,
            timeout: self.timeout,
            backoff: self.backoff,
            concurrency: self.concurrency,
            schema,
            replaces: false,
        };
        registration.validate().map_err(|error| format!("cannot be used: {error}"))?;
        if self.nice > NICE_MAX {
            return Err(format!("must have a `nice` from 0 to {NICE_MAX}, not {}", self.nice));
        }
        Ok(registration)
    }

    /// The options of the tasks. A command is asked to stop, and keeps its worker until it has ended.
    pub(super) fn options(&self, registration: &Registration, is_command: bool) -> TaskOptions {
        let default = TaskOptions::DEFAULT;
        let span = |time: Option<TimeSpan>| time.map(|TimeSpan(time)| time);
        TaskOptions {
            queue: registration.queue.clone().map_or(default.queue, |queue| queue.leak()),
            priority: registration.priority.unwrap_or(default.priority),
            attempts: registration.attempts.unwrap_or(default.attempts),
            timeout: span(registration.timeout).or(default.timeout),
            backoff: span(registration.backoff).unwrap_or(default.backoff),
            concurrency: registration.concurrency.unwrap_or(default.concurrency),
            blocking: is_command,
            ..default
        }
    }

    /// The schema, with the description of the function.
    pub(super) fn schema(&self, registration: &Registration) -> Schema {
        let mut schema = match &registration.schema {
            Some(Value::Object(schema)) => Value::Object(schema.clone()),
            Some(other) => other.clone(),
            None => Value::Bool(true),
        };
        if let (Some(description), Value::Bool(true)) = (&self.description, &schema) {
            schema = serde_json::json!({ "description": description });
        } else if let (Some(description), Value::Object(fields)) = (&self.description, &mut schema) {
            fields.insert("description".to_owned(), Value::String(description.clone()));
        }
        Schema::try_from(schema).unwrap_or_default()
    }
}

fn read_schema(path: &Path, shown: &str) -> Result<Value, String> {
    let text = files::read_text(path)
        .map_err(|error| format!("has a schema in {shown}, which cannot be read: {error}"))?;
    serde_json::from_str(&text).map_err(|error| format!("has a schema in {shown}, which is no JSON: {error}"))
}
