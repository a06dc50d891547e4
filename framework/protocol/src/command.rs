//! A command request: its name and its fields.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{RequestError, ShownName};

/// A JSON object with `"command"`. The code that knows the command takes the other fields out one by one.
#[derive(Debug)]
pub struct CommandRequest<'a> {
    pub command: Cow<'a, str>,
    /// Echoed in the reply; any JSON scalar of at most 256 bytes.
    pub id: Option<&'a RawValue>,
    /// The fields that were not taken yet.
    fields: Vec<(Cow<'a, str>, Field<'a>)>,
}

/// The value of a field.
#[derive(Debug)]
enum Field<'a> {
    /// Part of a line.
    Json(&'a RawValue),
    /// A separate value, as from a URL.
    Value(Value),
}

impl<'a> CommandRequest<'a> {
    /// A command with its fields, without an `id`. No field may be given twice.
    pub fn new(command: &'a str, fields: impl IntoIterator<Item = (&'a str, Value)>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (own_name(name.into()), Field::Value(value)));
        let fields = fields.collect();
        Self { command: command.into(), id: None, fields }
    }

    /// A command whose fields are a JSON object of their own, without an `id`.
    ///
    /// # Errors
    /// When it is no JSON object, or a field is repeated.
    pub fn with_body(command: &'a str, body: &'a [u8]) -> Result<Self, RequestError> {
        let fields = read_fields(body)?.into_iter().map(|(name, value)| (name, Field::Json(value)));
        Ok(Self { command: command.into(), id: None, fields: fields.collect() })
    }

    /// Parses a line that is known to be a JSON object with a command.
    ///
    /// # Errors
    /// When a field is repeated, or the command is no string.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, RequestError> {
        let mut fields = read_fields(line)?;
        let id = extract(&mut fields, "id");
        let command = extract(&mut fields, "command");
        let command = command.and_then(|command| serde_json::from_str::<TextField>(command.get()).ok());
        match command {
            Some(TextField(command)) => {
                let fields = fields.into_iter().map(|(name, value)| (name, Field::Json(value))).collect();
                Ok(Self { command, id, fields })
            }
            None => Err(RequestError::bad_request("\"command\" must be a string.")),
        }
    }

    /// Takes a field; one that is absent or `null` is `None`. `expected` completes `"NAME" must be ..`.
    ///
    /// # Errors
    /// When its value is something else.
    pub fn take<T: Deserialize<'a>>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>, RequestError> {
        let Some(value) = extract(&mut self.fields, name) else { return Ok(None) };
        let value = match value {
            Field::Json(value) => serde_json::from_str(value.get()),
            Field::Value(value) => Option::<T>::deserialize(value),
        };
        value.map_err(|_| RequestError::bad_request(format!("\"{name}\" must be {expected}.")))
    }

    /// Takes a required field.
    ///
    /// # Errors
    /// When it is missing, or its value is something else.
    pub fn need<T: Deserialize<'a>>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<T, RequestError> {
        match self.take(name, expected)? {
            Some(value) => Ok(value),
            None => Err(RequestError::bad_request(format!(
                "The command {} needs \"{name}\", {expected}.",
                ShownName(&self.command)
            ))),
        }
    }

    /// Checks that the command has no other fields than `known` ones.
    ///
    /// # Errors
    /// When there are others; names the first, and the known one that is nearest.
    pub fn only(&self, known: &[&str]) -> Result<(), RequestError> {
        let Some((name, _)) = self.fields.iter().find(|(name, _)| !known.contains(&&**name)) else {
            return Ok(());
        };
        let (command, field) = (ShownName(&self.command), ShownName(name));
        let refusal = RequestError::bad_request(format!("The command {command} has no field {field}."));
        Err(refusal.suggesting(name, known.iter().copied().chain(["command", "id"])))
    }
}

/// The name by which a field is looked up: `task_id` and `batch_id`, as in replies, are `task` and `batch`.
fn own_name(name: Cow<'_, str>) -> Cow<'_, str> {
    match &*name {
        "task_id" => "task".into(),
        "batch_id" => "batch".into(),
        _ => name,
    }
}

fn extract<V>(fields: &mut Vec<(Cow<'_, str>, V)>, name: &str) -> Option<V> {
    let index = fields.iter().position(|(field, _)| field == name)?;
    Some(fields.remove(index).1)
}

#[derive(Deserialize)]
struct TextField<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of a JSON object, none of them twice.
fn read_fields(object: &[u8]) -> Result<Vec<(Cow<'_, str>, &RawValue)>, RequestError> {
    let Object(fields) =
        serde_json::from_slice(object).map_err(|error| RequestError::bad_request(format!("{error}.")))?;
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(RequestError::bad_request(format!("The field {} stands twice.", ShownName(pair[0]))))
        }
        None => Ok(fields),
    }
}

/// An object with all its fields: serde's own maps would drop repeated ones.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
                let mut fields = Vec::new();
                while let Some((TextField(name), value)) = map.next_entry()? {
                    fields.push((own_name(name), value));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> CommandRequest<'_> {
        CommandRequest::read(line.as_bytes()).unwrap()
    }

    #[test]
    fn take_reads_a_field_by_name_and_null_as_none() {
        let mut request = read(r#"{"task":7,"id":"a","command":"show","queue":null}"#);
        assert_eq!((&*request.command, request.id.map(RawValue::get)), ("show", Some("\"a\"")));
        assert_eq!(request.need("task", "a task's id"), Ok(7));
        assert_eq!(request.take::<String>("queue", "a string"), Ok(None));
    }

    #[test]
    fn take_reads_separate_values_like_the_fields_of_a_line() {
        let mut request = CommandRequest::new("show", [("task", Value::from(7)), ("queue", Value::Null)]);
        assert_eq!(request.need("task", "a task's id"), Ok(7));
        assert_eq!(request.take::<String>("queue", "a string"), Ok(None));
    }

    #[test]
    fn ids_have_the_names_that_they_have_in_replies() {
        assert_eq!(read(r#"{"task_id":7,"command":"show"}"#).need("task", "a task's id"), Ok(7));
        assert_eq!(read(r#"{"batch_id":7,"command":"batch"}"#).need("batch", "a batch's id"), Ok(7));
        let twice = CommandRequest::read(br#"{"command":"show","task":1,"task_id":2}"#).unwrap_err();
        assert_eq!(twice.to_string(), "The field \"task\" stands twice.");
    }

    #[test]
    fn need_names_the_field_that_is_missing_or_wrong() {
        let refused = |result: Result<u64, RequestError>| result.unwrap_err().to_string();
        assert_eq!(
            refused(read(r#"{"command":"show","task":"x"}"#).need("task", "a task's id")),
            "\"task\" must be a task's id."
        );
        assert_eq!(
            refused(read(r#"{"command":"show"}"#).need("task", "a task's id")),
            "The command \"show\" needs \"task\", a task's id."
        );
        let twice = CommandRequest::read(br#"{"command":"show","task":1,"task":2}"#).unwrap_err();
        assert_eq!(twice.to_string(), "The field \"task\" stands twice.");
    }

    #[test]
    fn only_names_an_unknown_field_with_the_nearest_one() {
        let request = read(r#"{"command":"show","taks":1}"#);
        assert_eq!(request.only(&["task"]).unwrap_err().suggestion.as_deref(), Some("task"));
        assert_eq!(request.only(&["taks"]), Ok(()));
    }
}
