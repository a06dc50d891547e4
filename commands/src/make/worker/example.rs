//! Arguments that a JSON Schema allows, for a test to begin with.

use framework::serde_json::{Map, Value, json};

/// The most values of an example, so that there is an end to a schema which refers to itself, or asks for
/// long lists of long lists.
const VALUES_MAX: usize = 1_000;
/// The longest text that is made for a `minLength`.
const LENGTH_MAX: u64 = 10_000;

/// An example of what a schema allows: its own example or default, or else the least of its type. What only a
/// pattern or a format says is not kept.
pub(super) fn example(schema: &Value) -> Value {
    Examples { root: schema, left: VALUES_MAX }.of(schema)
}

/// Examples of the parts of a schema.
struct Examples<'s> {
    root: &'s Value,
    /// The number of values that there may still be; all others are null.
    left: usize,
}

impl Examples<'_> {
    fn of(&mut self, schema: &Value) -> Value {
        let Some(left) = self.left.checked_sub(1) else { return Value::Null };
        self.left = left;
        let chosen =
            schema.get("const").or_else(|| schema.get("default")).or_else(|| schema.get("examples")?.get(0));
        if let Some(value) = chosen.or_else(|| schema.get("enum")?.get(0)) {
            return value.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Value::Null, |target| self.of(target));
        }
        for choice in ["anyOf", "oneOf", "allOf"] {
            if let Some(first) = schema.get(choice).and_then(|choices| choices.get(0)) {
                return self.of(first);
            }
        }
        match type_of(schema) {
            Some("object") => self.object(schema),
            Some("array") => self.array(schema),
            Some("string") => {
                let length = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0).min(LENGTH_MAX);
                if length > 4 { "x".repeat(length as usize).into() } else { "text".into() }
            }
            Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
            Some("boolean") => json!(true),
            _ => Value::Null,
        }
    }

    /// The required properties.
    fn object(&mut self, schema: &Value) -> Value {
        let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let properties = names.filter_map(Value::as_str).map(|name| {
            let property = schema.get("properties").and_then(|properties| properties.get(name));
            (name.to_owned(), property.map_or(Value::Null, |property| self.of(property)))
        });
        Value::Object(properties.collect::<Map<_, _>>())
    }

    /// As few items as there have to be.
    fn array(&mut self, schema: &Value) -> Value {
        let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(VALUES_MAX as u64);
        let items = schema.get("items").unwrap_or(&Value::Null);
        (0..count).map_while(|_| (self.left > 0).then(|| self.of(items))).collect()
    }
}

/// The first type that a schema allows.
fn type_of(schema: &Value) -> Option<&str> {
    let types = schema.get("type");
    let named = types.and_then(|types| types.get(0).unwrap_or(types).as_str());
    named.or_else(|| schema.get("properties").map(|_| "object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_fits_its_schema() {
        for (schema, expected) in [
            (json!(true), json!(null)),
            (json!({"type": "string", "default": "a"}), json!("a")),
            (json!({"enum": ["b", "c"]}), json!("b")),
            (json!({"type": ["integer", "null"], "minimum": 3}), json!(3)),
            (json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2}), json!([true, true])),
            (
                json!({"properties": {"width": {"type": "integer"}, "to": {"$ref": "#/$defs/To"}, "x": {}},
                       "required": ["width", "to"], "$defs": {"To": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}),
                json!({"width": 1, "to": "text"}),
            ),
        ] {
            assert_eq!(example(&schema), expected, "{schema}");
        }
        let endless = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
        assert_eq!(example(&endless), json!(null));
    }

    #[test]
    fn example_of_a_schema_that_grows_without_end_is_bounded() {
        let text = json!({"type": "string", "minLength": 9_000_000_000_u64});
        assert_eq!(example(&text).as_str().unwrap().len() as u64, LENGTH_MAX);
        let both = json!({"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]});
        let mut lists = json!({"type": "integer"});
        for _ in 0..20 {
            lists = json!({"type": "array", "minItems": 1_000_000, "items": lists});
        }
        for schema in [both, lists] {
            assert!(example(&schema).to_string().len() < 100 * VALUES_MAX, "{schema}");
        }
    }
}
