//! Arguments that a JSON Schema allows, for a test to begin with.

use framework::serde_json::{Map, Value, json};

/// The depth at which a schema that refers to itself is given up.
const DEPTH_MAX: usize = 16;

/// An example of what a schema allows: its own example or default, or else the least of its type. What only a
/// pattern or a format says is not kept.
pub(super) fn example(schema: &Value) -> Value {
    of(schema, schema, 0)
}

fn of(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let chosen =
        schema.get("const").or_else(|| schema.get("default")).or_else(|| schema.get("examples")?.get(0));
    if let Some(value) = chosen.or_else(|| schema.get("enum")?.get(0)) {
        return value.clone();
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, |target| of(target, root, depth + 1));
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(choice).and_then(|choices| choices.get(0)) {
            return of(first, root, depth + 1);
        }
    }
    match type_of(schema) {
        Some("object") => object(schema, root, depth),
        Some("array") => {
            let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(DEPTH_MAX as u64);
            let item = schema.get("items").map_or(Value::Null, |items| of(items, root, depth + 1));
            (0..count).map(|_| item.clone()).collect()
        }
        Some("string") => {
            let length = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
            if length > 4 { "x".repeat(length.min(10_000) as usize).into() } else { "text".into() }
        }
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        _ => Value::Null,
    }
}

/// The first type that a schema allows.
fn type_of(schema: &Value) -> Option<&str> {
    let types = schema.get("type");
    let named = types.and_then(|types| types.get(0).unwrap_or(types).as_str());
    named.or_else(|| schema.get("properties").map(|_| "object"))
}

/// The required properties.
fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let names =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let property =
        |name: &str| schema.get("properties")?.get(name).map(|property| of(property, root, depth + 1));
    let properties = names.map(|name| (name.to_owned(), property(name).unwrap_or_default()));
    Value::Object(properties.collect::<Map<_, _>>())
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
}
