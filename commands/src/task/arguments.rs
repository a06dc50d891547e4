//! The arguments of a function, read off its JSON Schema.

mod kind;

use framework::schemars::Schema;
pub(super) use kind::{Kind, Shape};
use serde::Serialize;
use serde_json::{Map, Value};

/// One argument of a function.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Argument {
    pub(super) name: String,
    #[serde(rename = "type", serialize_with = "kind::serialize_name")]
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) default: Option<Value>,
    pub(super) description: Option<String>,
    /// Other names that it is accepted by.
    pub(super) aliases: Vec<String>,
}

/// The named arguments, the required ones first; `None` if the function takes another value than an object.
pub(super) fn arguments(schema: &Schema) -> Option<Vec<Argument>> {
    let whole = schema.as_object()?;
    let properties = whole.get("properties").and_then(Value::as_object);
    if properties.is_none() && whole.get("type").and_then(Value::as_str) != Some("object") {
        return None;
    }
    let required: Vec<_> = texts(whole, "required").collect();
    let none = Map::new();
    let read =
        |(name, property): (&String, &Value)| Argument::read(name, property, &required, schema.as_value());
    let mut arguments: Vec<_> = properties.unwrap_or(&none).iter().map(read).collect();
    let place = |argument: &Argument| required.iter().position(|name| *name == argument.name);
    arguments.sort_by_key(|argument| place(argument).unwrap_or(usize::MAX));
    Some(arguments)
}

impl Argument {
    fn read(name: &str, property: &Value, required: &[&str], whole: &Value) -> Self {
        let nothing = Map::new();
        let facts = property.as_object().unwrap_or(&nothing);
        Self {
            name: name.to_owned(),
            kind: Kind::read(property, whole),
            required: required.contains(&name),
            default: facts.get("default").cloned(),
            description: facts.get("description").and_then(Value::as_str).map(str::to_owned),
            aliases: texts(facts, "x-aliases").map(str::to_owned).collect(),
        }
    }
}

fn texts<'a>(facts: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> {
    facts.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The first paragraph of a description, in one line.
pub(super) fn first_paragraph(description: &str) -> String {
    let lines = description.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: Value) -> Option<Vec<Argument>> {
        arguments(&Schema::try_from(schema).unwrap())
    }

    #[test]
    fn arguments_begin_with_the_required_ones_in_their_order() {
        let property = json!({"type": "string"});
        let properties = json!({"a": property, "b": property, "c": property});
        let all = of(json!({"type": "object", "properties": properties, "required": ["c", "b"]})).unwrap();
        assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["c", "b", "a"]);
    }

    #[test]
    fn arguments_are_none_for_another_value_than_an_object() {
        assert_eq!(of(json!({"type": "string"})), None);
        assert_eq!(of(json!({"type": "null"})), None);
        assert_eq!(of(json!(true)), None);
        assert_eq!(of(json!({"type": "object"})), Some(Vec::new()));
    }
}
