//! What the console's clients ask: a command by its name, and its fields.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{ErrorCode, RequestError};

/// A JSON object with `"command"`; its other fields are taken out one by one by whoever knows the command.
#[derive(Debug)]
pub struct CommandRequest<'a> {
    pub command: Cow<'a, str>,
    /// Echoed in the answer; any JSON scalar.
    pub id: Option<&'a RawValue>,
    /// Those not taken yet.
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> CommandRequest<'a> {
    /// Reads all fields of a line that is known to be a JSON object with a command.
    ///
    /// # Errors
    /// When a field stands twice, or the command is no string.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, RequestError> {
        let Object(mut fields) = serde_json::from_slice(line).map_err(|error| bad(format!("{error}.")))?;
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(bad(format!("The field \"{}\" stands twice.", pair[0])));
        }
        let id = extract(&mut fields, "id");
        let command = extract(&mut fields, "command");
        let command = command.and_then(|command| serde_json::from_str::<Text>(command.get()).ok());
        match command {
            Some(Text(command)) => Ok(Self { command, id, fields }),
            None => Err(bad("\"command\" must be a string.")),
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
        match extract(&mut self.fields, name) {
            Some(value) if value.get() != "null" => match serde_json::from_str(value.get()) {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(bad(format!("\"{name}\" must be {expected}."))),
            },
            _ => Ok(None),
        }
    }

    /// Takes a field that has to be there.
    ///
    /// # Errors
    /// When it is not there, or its value is something else.
    pub fn need<T: Deserialize<'a>>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<T, RequestError> {
        match self.take(name, expected)? {
            Some(value) => Ok(value),
            None => Err(bad(format!("The command \"{}\" needs \"{name}\", {expected}.", self.command))),
        }
    }

    /// Checks that the command is given no other fields than `known` ones.
    ///
    /// # Errors
    /// When there are others: the first is named, with the near one.
    pub fn only(&self, known: &[&str]) -> Result<(), RequestError> {
        let Some((name, _)) = self.fields.iter().find(|(name, _)| !known.contains(&&**name)) else {
            return Ok(());
        };
        let refusal = bad(format!("The command \"{}\" has no field \"{name}\".", self.command));
        Err(refusal.suggesting(name, known.iter().copied().chain(["command", "id"])))
    }
}

fn bad(message: impl Into<String>) -> RequestError {
    RequestError::new(ErrorCode::BadRequest, message)
}

fn extract<'a>(fields: &mut Vec<(Cow<'a, str>, &'a RawValue)>, name: &str) -> Option<&'a RawValue> {
    let index = fields.iter().position(|(field, _)| field == name)?;
    Some(fields.remove(index).1)
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object as it stands: serde's own maps would drop what stands twice.
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
                while let Some((Text(name), value)) = map.next_entry()? {
                    fields.push((name, value));
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
    fn fields_are_taken_by_their_names_and_null_is_none() {
        let mut request = read(r#"{"task":7,"id":"a","command":"show","queue":null}"#);
        assert_eq!((&*request.command, request.id.map(RawValue::get)), ("show", Some("\"a\"")));
        assert_eq!(request.need("task", "a task's id"), Ok(7));
        assert_eq!(request.take::<String>("queue", "a string"), Ok(None));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
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
    fn a_field_too_many_is_named_with_the_near_one() {
        let request = read(r#"{"command":"show","taks":1}"#);
        assert_eq!(request.only(&["task"]).unwrap_err().suggestion.as_deref(), Some("task"));
        assert_eq!(request.only(&["taks"]), Ok(()));
    }
}
