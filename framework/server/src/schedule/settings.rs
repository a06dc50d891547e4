//! The section `schedule`: the settings of config/schedule.toml.

use std::collections::BTreeMap;

use framework_console::config::Section;
use framework_protocol::task::{MissedRunPolicy, OverlapPolicy};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::cron::{parse, zone};

/// The schedules by their names, each a table of config/schedule.toml.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScheduleSettings {
    pub schedules: BTreeMap<String, ScheduleEntry>,
}

/// One table. A key that it omits has the value of `#[task(cron = ..)]` of the handler of that name, if there
/// is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleEntry {
    /// A command of this program, such as `report:daily --mail`, instead of a function with arguments.
    pub command: Option<String>,
    /// The function of the tasks; by default the one of the schedule's own name.
    pub function: Option<String>,
    /// The arguments; by default `null`, or `{}` where that does not fit.
    pub args: Option<Arguments>,
    /// The cron expression; see [`Cron`](super::Cron).
    pub cron: Option<Expression>,
    /// The time zone: a name of the IANA database, such as `Asia/Shanghai`; by default UTC.
    pub timezone: Option<Timezone>,
    /// The policy for times at which no server ran: `skip`, `once` (the default) or `all`.
    pub missed: Option<MissedRunPolicy>,
    /// The policy while the task of the previous run has not ended: `allow` (the default) or `skip`.
    pub overlap: Option<OverlapPolicy>,
    /// The queue; by default that of the function.
    pub queue: Option<String>,
    /// `false` disables the schedule, also one of `#[task(cron = ..)]`.
    pub enabled: bool,
}

impl Default for ScheduleEntry {
    /// Enabled, with everything else as the handler has it.
    fn default() -> Self {
        Self {
            command: None,
            function: None,
            args: None,
            cron: None,
            timezone: None,
            missed: None,
            overlap: None,
            queue: None,
            enabled: true,
        }
    }
}

impl Section for ScheduleSettings {
    const NAME: &'static str = "schedule";
    const TABLE: Option<&'static str> = Some("schedule");
}

framework_console::section!(ScheduleSettings);

/// A valid cron expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Expression(pub String);

impl TryFrom<String> for Expression {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse(&text).map_err(|error| format!("cannot have this cron: {error}"))?;
        Ok(Self(text))
    }
}

/// The name of a time zone that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Timezone(pub String);

impl TryFrom<String> for Timezone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        zone(&name).map_err(|error| format!("cannot have this timezone: {error}"))?;
        Ok(Self(name))
    }
}

/// Arguments as JSON; a date of TOML becomes a string.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Arguments(pub Value);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(deserializer)?;
        let json =
            json(value).ok_or_else(|| D::Error::custom("has a number in its args that JSON cannot tell"));
        json.map(Self)
    }
}

fn json(value: toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::Number(serde_json::Number::from_f64(number)?),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(json).collect::<Option<_>>()?),
        toml::Value::Table(table) => {
            let fields = table.into_iter().map(|(key, value)| Some((key, json(value)?)));
            Value::Object(fields.collect::<Option<Map<_, _>>>()?)
        }
    })
}
