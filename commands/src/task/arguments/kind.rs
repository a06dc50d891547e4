//! The type of an argument, and parsing of its values.

use std::fmt;

use framework::config::did_you_mean;
use serde::Serializer;
use serde_json::{Number, Value};

use crate::json_text::json_fault;

/// The depth to which references within a schema are followed.
const MAX_DEPTH: usize = 16;

/// The type of a value; an optional one may be `null`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kind {
    pub(crate) shape: Shape,
    pub(crate) optional: bool,
}

/// The form of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Text,
    Integer {
        minimum: Option<Value>,
        maximum: Option<Value>,
    },
    Number,
    Switch,
    /// One of these texts.
    Choice(Vec<String>),
    List(Box<Kind>),
    /// An object or array, written as JSON.
    Json(&'static str),
    /// JSON, or otherwise a text.
    Any,
}

impl Kind {
    /// Reads the schema of a value; `whole` is the schema with its definitions.
    pub(crate) fn read(schema: &Value, whole: &Value) -> Self {
        Self::descend(schema, whole, MAX_DEPTH)
    }

    fn descend(schema: &Value, whole: &Value, depth: usize) -> Self {
        let Some(depth) = depth.checked_sub(1) else { return Shape::Any.into() };
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|path| whole.pointer(path));
            return target.map_or_else(|| Shape::Any.into(), |target| Self::descend(target, whole, depth));
        }
        if let Some(choices) = choices(schema) {
            return choices;
        }
        if let Some(either) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array) {
            return match either.as_slice() {
                [one, null] if null["type"] == "null" => {
                    Self { optional: true, ..Self::descend(one, whole, depth) }
                }
                all if all.iter().all(|one| one["type"] == "object") => Shape::Json("object").into(),
                _ => Shape::Any.into(),
            };
        }
        let names: Vec<_> = match &schema["type"] {
            Value::String(name) => vec![name.as_str()],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let shape = match names.iter().filter(|name| **name != "null").collect::<Vec<_>>().as_slice() {
            [name] => Shape::named(name, schema, whole, depth),
            _ => Shape::Any,
        };
        Self { shape, optional: names.contains(&"null") }
    }

    /// Parses a value of this type from a word of the command line.
    ///
    /// # Errors
    /// When the word is not such a value.
    pub(crate) fn parse(&self, word: &str) -> Result<Value, String> {
        if self.optional && word == "null" {
            return Ok(Value::Null);
        }
        match &self.shape {
            Shape::Text => Ok(word.into()),
            Shape::Integer { minimum, maximum } => integer(word, minimum.as_ref(), maximum.as_ref()),
            Shape::Number => serde_json::from_str::<Number>(word)
                .map(Value::Number)
                .map_err(|_| "it is not a number".into()),
            Shape::Switch => {
                word.parse::<bool>().map(Value::Bool).map_err(|_| "it is not true or false".into())
            }
            Shape::Choice(choices) if choices.iter().any(|choice| choice == word) => Ok(word.into()),
            Shape::Choice(choices) => Err(match did_you_mean(word, choices.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are: {}", choices.join(", ")),
            }),
            Shape::List(item) => item.parse(word).or_else(|error| whole_list(word).ok_or(error)),
            Shape::Json(what) => {
                let value = serde_json::from_str::<Value>(word)
                    .map_err(|error| format!("it is not JSON: {}", json_fault(&error)))?;
                let fits = if *what == "object" { value.is_object() } else { value.is_array() };
                fits.then_some(value).ok_or_else(|| format!("it is not a JSON {what}"))
            }
            Shape::Any => Ok(serde_json::from_str(word).unwrap_or_else(|_| word.into())),
        }
    }
}

impl Shape {
    fn named(name: &str, schema: &Value, whole: &Value, depth: usize) -> Self {
        match name {
            "string" => Self::Text,
            "integer" => Self::Integer {
                minimum: schema.get("minimum").cloned(),
                maximum: schema.get("maximum").cloned(),
            },
            "number" => Self::Number,
            "boolean" => Self::Switch,
            // A list of lists cannot be written by repeating the option.
            "array" => match schema.get("items").map(|items| Kind::descend(items, whole, depth)) {
                Some(item) if !matches!(item.shape, Self::List(_)) && schema.get("prefixItems").is_none() => {
                    Self::List(Box::new(item))
                }
                _ => Self::Json("array"),
            },
            "object" => Self::Json("object"),
            _ => Self::Any,
        }
    }
}

impl From<Shape> for Kind {
    fn from(shape: Shape) -> Self {
        // `Any` already includes `null`.
        Self { optional: false, shape }
    }
}

/// The variants of an enum without fields, listed together, or one by one with their documentation.
fn choices(schema: &Value) -> Option<Kind> {
    let mut all: Vec<&Value> = match (schema.get("enum"), schema.get("oneOf").and_then(Value::as_array)) {
        (Some(all), _) => all.as_array()?.iter().collect(),
        (None, Some(several)) => several.iter().map(consts).collect::<Option<Vec<_>>>()?.concat(),
        (None, None) => vec![schema.get("const")?],
    };
    let count = all.len();
    all.retain(|choice| !choice.is_null());
    let optional = all.len() < count;
    let texts = all.into_iter().map(|choice| choice.as_str().map(str::to_owned));
    Some(Kind { shape: Shape::Choice(texts.collect::<Option<_>>()?), optional })
}

fn consts(schema: &Value) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
        (Some(one), _) => Some(vec![one]),
        (None, several) => several.map(|several| several.iter().collect()),
    }
}

/// A list that is written as JSON.
fn whole_list(word: &str) -> Option<Value> {
    serde_json::from_str(word).ok().filter(Value::is_array)
}

fn integer(word: &str, minimum: Option<&Value>, maximum: Option<&Value>) -> Result<Value, String> {
    let number: Number = serde_json::from_str(word).map_err(|_| "it is not an integer")?;
    if number.is_f64() {
        return Err("it is not an integer".to_owned());
    }
    let as_float = |value: &Value| value.as_f64();
    let is_below = minimum.and_then(as_float).is_some_and(|least| number.as_f64() < Some(least));
    let is_above = maximum.and_then(as_float).is_some_and(|most| number.as_f64() > Some(most));
    match (is_below, is_above, minimum, maximum) {
        (true, _, Some(least), Some(most)) | (_, true, Some(least), Some(most)) => {
            Err(format!("it is not in {least} to {most}"))
        }
        (true, _, Some(least), _) => Err(format!("it is below {least}")),
        (_, true, _, Some(most)) => Err(format!("it is above {most}")),
        _ => Ok(Value::Number(number)),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match &self.shape {
            Shape::Text => formatter.write_str("string"),
            Shape::Integer { .. } => formatter.write_str("integer"),
            Shape::Number => formatter.write_str("number"),
            Shape::Switch => formatter.write_str("boolean"),
            Shape::Choice(choices) => formatter.write_str(&choices.join("|")),
            Shape::List(item) => write!(formatter, "list of {item}"),
            Shape::Json(what) => formatter.write_str(what),
            Shape::Any => formatter.write_str("any"),
        }?;
        formatter.write_str(if self.optional { " or null" } else { "" })
    }
}

pub(super) fn serialize_name<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(schema: Value) -> Kind {
        let whole = json!({"$defs": {
            "Colour": {"oneOf": [{"const": "red", "description": "Like blood"}, {"enum": ["green", "blue"]}]},
            "Loop": {"$ref": "#/$defs/Loop"},
        }});
        Kind::read(&schema, &whole)
    }

    fn parse(schema: Value, word: &str) -> Result<Value, String> {
        kind(schema).parse(word)
    }

    #[test]
    fn kind_reads_every_schema() {
        for (schema, name) in [
            (json!({"type": "string"}), "string"),
            (json!({"type": ["string", "null"]}), "string or null"),
            (json!({"type": "array", "items": {"type": "integer"}}), "list of integer"),
            (json!({"type": "array", "prefixItems": [true]}), "array"),
            (json!({"type": "object"}), "object"),
            (json!({"$ref": "#/$defs/Colour"}), "red|green|blue"),
            (json!({"anyOf": [{"$ref": "#/$defs/Colour"}, {"type": "null"}]}), "red|green|blue or null"),
            (json!({"oneOf": [{"type": "object"}, {"type": "object"}]}), "object"),
            (json!({"$ref": "#/$defs/Loop"}), "any"),
            (json!({"$ref": "#/$defs/Gone"}), "any"),
            (json!({"type": ["string", "integer"]}), "any"),
            (json!(true), "any"),
        ] {
            assert_eq!(kind(schema.clone()).to_string(), name, "{schema}");
        }
    }

    #[test]
    fn kind_parses_words() {
        assert_eq!(parse(json!({"type": "string"}), "42"), Ok(json!("42")));
        assert_eq!(parse(json!({"type": "integer"}), "-42"), Ok(json!(-42)));
        assert_eq!(parse(json!({"type": "integer"}), "18446744073709551615"), Ok(json!(u64::MAX)));
        assert_eq!(parse(json!({"type": "number"}), "1.5e3"), Ok(json!(1500.0)));
        assert_eq!(parse(json!({"type": ["integer", "null"]}), "null"), Ok(Value::Null));
        assert_eq!(parse(json!({"type": "object"}), r#"{"a":1}"#), Ok(json!({"a": 1})));
        assert_eq!(parse(json!(true), "[1]"), Ok(json!([1])));
        assert_eq!(parse(json!(true), "hello"), Ok(json!("hello")));
    }

    #[test]
    fn kind_explains_a_word_that_does_not_fit() {
        let small = json!({"type": "integer", "minimum": 0, "maximum": 9});
        assert_eq!(parse(small, "10"), Err("it is not in 0 to 9".to_owned()));
        assert_eq!(parse(json!({"type": "integer", "minimum": 0}), "-1"), Err("it is below 0".to_owned()));
        assert_eq!(parse(json!({"type": "integer"}), "1.5"), Err("it is not an integer".to_owned()));
        assert_eq!(parse(json!({"type": "number"}), "NaN"), Err("it is not a number".to_owned()));
        assert_eq!(parse(json!({"type": "boolean"}), "yes"), Err("it is not true or false".to_owned()));
        assert_eq!(parse(json!({"type": "object"}), "[]"), Err("it is not a JSON object".to_owned()));
        let colour = json!({"$ref": "#/$defs/Colour"});
        assert_eq!(parse(colour, "gren"), Err("did you mean \"green\"?".to_owned()));
    }
}
