//! A form made of a JSON Schema, and the arguments made of what was typed into it.

use framework_protocol::{ErrorCode, RequestError};
use maud::{Markup, html};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::json_view::visible;
use crate::text::Texts;
use crate::visit::FieldList;

/// More fields than this are typed as JSON.
const FIELDS_MAX: usize = 64;
/// The longest chain of references that is followed.
const REFERENCES_MAX: usize = 16;
/// The name of the one field of arguments that are no object, and the beginning of all others.
const FIELD: &str = "arg";
/// The name of the field that holds all arguments as JSON.
const JSON_FIELD: &str = "json";

/// The fields of a form.
pub(crate) struct SchemaForm {
    /// `None`: the arguments are the one value.
    fields: Option<Vec<FormField>>,
    value: FormField,
}

struct FormField {
    name: String,
    about: Option<String>,
    is_required: bool,
    kind: FieldKind,
    default: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
enum FieldKind {
    Text,
    Number,
    Bool,
    /// One of these texts.
    Choice(Vec<String>),
    /// Anything else, typed as JSON.
    Json,
}

impl SchemaForm {
    pub(crate) fn new(schema: &Value) -> Self {
        let resolved = resolve(schema, schema);
        let value = field(FIELD.to_owned(), resolved, schema, true);
        let properties =
            resolved["properties"].as_object().filter(|properties| properties.len() <= FIELDS_MAX);
        let is_required = |name: &str| {
            resolved["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name))
        };
        let fields = properties.map(|properties| {
            let field = |(name, property): (&String, &Value)| {
                field(name.clone(), property, schema, is_required(name))
            };
            properties.iter().map(field).collect()
        });
        Self { fields, value }
    }

    /// The fields with what was typed into them.
    pub(crate) fn render(&self, typed: &FieldList, texts: &Texts) -> Markup {
        match &self.fields {
            Some(fields) if fields.is_empty() => html! { p.faint { (texts.no_arguments) } },
            Some(fields) => html! { @for field in fields { (field.render(typed, texts)) } },
            None => self.value.render(typed, texts),
        }
    }

    /// The arguments that were typed; `None` when there is nothing to type.
    ///
    /// # Errors
    /// A field is none of its type.
    pub(crate) fn arguments(&self, typed: &FieldList) -> Result<Option<Box<RawValue>>, RequestError> {
        if let Some(json) = typed.get(JSON_FIELD) {
            return parse_json(json).map(Some);
        }
        let value = match &self.fields {
            Some(fields) if fields.is_empty() => return Ok(None),
            Some(fields) => {
                let mut object = Map::new();
                for field in fields {
                    if let Some(value) = field.value(typed)? {
                        object.insert(field.name.clone(), value);
                    }
                }
                Value::Object(object)
            }
            None => self.value.value(typed)?.unwrap_or_default(),
        };
        let text = value.to_string();
        parse_json(&text).map(Some)
    }
}

/// The field that holds all arguments as JSON, for what the other fields cannot say.
pub(crate) fn json_field(typed: &FieldList, texts: &Texts) -> Markup {
    html! {
        label.field {
            span { (texts.arguments) " (JSON)" }
            textarea name=(JSON_FIELD) rows="6" spellcheck="false" { (typed.get(JSON_FIELD).unwrap_or_default()) }
        }
    }
}

fn parse_json(text: &str) -> Result<Box<RawValue>, RequestError> {
    serde_json::from_str(text).map_err(|error| {
        RequestError::new(ErrorCode::BadArguments, format!("The arguments are no JSON: {error}."))
    })
}

/// The schema that a chain of references leads to.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let mut found = schema;
    for _ in 0..REFERENCES_MAX {
        let reference = found["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        let Some(target) = reference.and_then(|pointer| root.pointer(pointer)) else { return found };
        found = target;
    }
    found
}

/// The schema of a value that may also be null, without that; other schemas as they are.
fn present(schema: &Value) -> &Value {
    match schema["anyOf"].as_array().map(Vec::as_slice) {
        Some([one, null] | [null, one]) if null["type"] == "null" => one,
        _ => schema,
    }
}

fn field(name: String, schema: &Value, root: &Value, is_required: bool) -> FormField {
    let resolved = resolve(present(resolve(schema, root)), root);
    let about = schema["description"].as_str().or(resolved["description"].as_str());
    let default = schema.get("default").or(resolved.get("default")).cloned();
    FormField { name, about: about.map(str::to_owned), is_required, kind: kind(resolved), default }
}

fn kind(schema: &Value) -> FieldKind {
    if let Some(choices) = choices(schema) {
        return FieldKind::Choice(choices);
    }
    let of_type = |name: &Value| match name.as_str() {
        Some("string") => FieldKind::Text,
        Some("integer" | "number") => FieldKind::Number,
        Some("boolean") => FieldKind::Bool,
        _ => FieldKind::Json,
    };
    match &schema["type"] {
        // What may also be nothing is left empty.
        Value::Array(types) if types.len() == 2 && types.iter().any(|name| name == "null") => {
            types.iter().find(|name| *name != "null").map_or(FieldKind::Json, of_type)
        }
        name => of_type(name),
    }
}

/// The texts of a schema that lists them: as `enum`, as a constant, or as `oneOf` with either.
fn choices(schema: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(all) = schema["enum"].as_array() {
        return all.iter().map(text).collect();
    }
    if let Some(constant) = schema.get("const") {
        return text(constant).map(|text| vec![text]);
    }
    let parts: Option<Vec<_>> = schema["oneOf"].as_array()?.iter().map(choices).collect();
    parts.map(|parts| parts.concat())
}

impl FormField {
    fn form_name(&self) -> String {
        if self.name == FIELD { FIELD.to_owned() } else { format!("{FIELD}.{}", self.name) }
    }

    fn typed<'a>(&self, typed: &'a FieldList) -> Option<&'a str> {
        typed.get(&self.form_name())
    }

    /// What was typed; `None` for a field that was left empty.
    fn value(&self, typed: &FieldList) -> Result<Option<Value>, RequestError> {
        let wrong = |expected: &str| {
            let message = format!("The field \"{}\" must be {expected}.", visible(&self.name));
            Err(RequestError::new(ErrorCode::BadArguments, message))
        };
        let Some(text) = self.typed(typed) else {
            let is_empty_text = self.is_required && self.kind == FieldKind::Text;
            return Ok(is_empty_text.then(|| Value::from("")));
        };
        Ok(Some(match self.kind {
            FieldKind::Text | FieldKind::Choice(_) => Value::from(text.replace("\r\n", "\n")),
            FieldKind::Bool => Value::from(text == "true"),
            FieldKind::Number => match serde_json::from_str(text.trim()) {
                Ok(Value::Number(number)) => Value::Number(number),
                _ => return wrong("a number"),
            },
            FieldKind::Json => match serde_json::from_str(text) {
                Ok(value) => value,
                Err(error) => return wrong(&format!("JSON: {error}")),
            },
        }))
    }

    fn render(&self, typed: &FieldList, texts: &Texts) -> Markup {
        let value = self.typed(typed).map(str::to_owned);
        let hint = self.default.as_ref().map(|default| match default {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let hint = hint.unwrap_or_default();
        html! {
            label.field {
                span {
                    @if self.name == FIELD { (texts.arguments) } @else { (visible(&self.name)) }
                    @if self.is_required { b.required title=(texts.required) { " *" } }
                    @if self.kind == FieldKind::Json { span.faint { " JSON" } }
                }
                (self.input(value.unwrap_or_default(), &hint))
                @if let Some(about) = &self.about { small.faint { (visible(about)) } }
            }
        }
    }

    fn input(&self, value: String, hint: &str) -> Markup {
        let name = self.form_name();
        match &self.kind {
            FieldKind::Text => html! {
                textarea name=(name) rows="1" placeholder=(hint) spellcheck="false" { (value) }
            },
            FieldKind::Number => html! {
                input name=(name) value=(value) placeholder=(hint) inputmode="decimal" autocomplete="off";
            },
            FieldKind::Bool => select(&name, &["true", "false"], &value),
            FieldKind::Choice(choices) => {
                select(&name, &choices.iter().map(String::as_str).collect::<Vec<_>>(), &value)
            }
            FieldKind::Json => html! {
                textarea name=(name) rows="3" placeholder=(hint) spellcheck="false" { (value) }
            },
        }
    }
}

/// A list to choose one from, or nothing.
pub(crate) fn select(name: &str, choices: &[&str], chosen: &str) -> Markup {
    html! {
        select name=(name) {
            option value="" { "–" }
            @for choice in choices {
                option value=(choice) selected[*choice == chosen] { (visible(choice)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::text::ENGLISH;

    fn arguments(schema: Value, typed: &str) -> Result<Option<String>, String> {
        let arguments = SchemaForm::new(&schema).arguments(&FieldList::parse(typed));
        arguments.map(|value| value.map(|value| value.get().to_owned())).map_err(|error| error.message)
    }

    fn mail() -> Value {
        json!({
            "type": "object",
            "required": ["to"],
            "properties": {
                "to": { "$ref": "#/$defs/Address" },
                "count": { "type": ["integer", "null"] },
                "urgent": { "type": "boolean" },
                "how": { "oneOf": [{ "const": "fast" }, { "const": "slow" }] },
                "tags": { "type": "array" },
            },
            "$defs": { "Address": { "type": "string", "description": "<b>An address" } },
        })
    }

    #[test]
    fn arguments_have_the_types_of_the_schema() {
        let typed = "arg.to=a%40b&arg.count=18446744073709551615&arg.urgent=true&arg.how=slow&arg.tags=[1]";
        let object = r#"{"count":18446744073709551615,"how":"slow","tags":[1],"to":"a@b","urgent":true}"#;
        assert_eq!(arguments(mail(), typed), Ok(Some(object.to_owned())));
        assert_eq!(arguments(mail(), ""), Ok(Some(r#"{"to":""}"#.to_owned())));
        assert_eq!(arguments(mail(), "json=[true]"), Ok(Some("[true]".to_owned())));
        assert_eq!(arguments(json!({ "type": "string" }), "arg=x%0d%0ay"), Ok(Some(r#""x\ny""#.to_owned())));
        assert_eq!(arguments(json!({ "type": "object", "properties": {} }), ""), Ok(None));
        assert_eq!(arguments(json!(true), "arg=%7b%7d"), Ok(Some("{}".to_owned())));
    }

    #[test]
    fn choices_are_those_of_all_variants_also_of_a_value_that_may_be_missing() {
        let level = json!({ "oneOf": [
            { "type": "string", "enum": ["low", "high"] },
            { "type": "string", "const": "none", "description": "As it comes" },
        ] });
        let schema = json!({
            "type": "object",
            "properties": { "level": { "anyOf": [{ "$ref": "#/$defs/Level" }, { "type": "null" }] } },
            "$defs": { "Level": level },
        });
        let form = SchemaForm::new(&schema);
        let choices = ["low", "high", "none"].map(str::to_owned).to_vec();
        assert_eq!(form.fields.unwrap()[0].kind, FieldKind::Choice(choices));
    }

    #[test]
    fn arguments_of_another_type_are_refused_by_their_field() {
        let said = arguments(mail(), "arg.to=a&arg.count=many").unwrap_err();
        assert_eq!(said, "The field \"count\" must be a number.");
        assert!(arguments(mail(), "arg.tags=%5b").unwrap_err().contains("\"tags\" must be JSON"));
        assert!(arguments(mail(), "json=%7b").unwrap_err().contains("are no JSON"));
    }

    #[test]
    fn form_is_escaped_and_ends_with_circular_references() {
        let form = SchemaForm::new(&mail()).render(&FieldList::parse("arg.to=</textarea><script>"), &ENGLISH);
        let form = form.into_string();
        assert!(
            !form.contains("<script") && !form.contains("<b>An") && form.contains("&lt;b&gt;An"),
            "{form}"
        );
        let circle = json!({ "$ref": "#/$defs/A", "$defs": { "A": { "$ref": "#/$defs/A" } } });
        assert_eq!(SchemaForm::new(&circle).value.kind, FieldKind::Json);
    }
}
