//! The JSON Schemas of requests and responses, generated from their types.

use framework_protocol::Durability;
use framework_protocol::task::{Handlers, TAGS_MAX, TaskId};
use framework_protocol::views::State;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::matching::ParameterKind;
use super::problem::Document;
use crate::server::service::ResultSchema;

/// The place of schemas in the document.
const PLACE: &str = "/components/schemas";

/// The schemas that the document refers to.
pub(super) struct Schemas {
    generator: SchemaGenerator,
    /// The definitions of handlers' schemas, by the name of the handler and their own.
    embedded: Map<String, Value>,
}

/// The acknowledgement of a task, as on the wire.
#[derive(Serialize, JsonSchema)]
struct Queued {
    task_id: TaskId,
    #[schemars(extend("const" = "queued"))]
    status: String,
    /// `true` when the key belongs to an earlier task, which `task_id` is then.
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    /// The state of the earlier task.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    durability: Durability,
}

/// The end of a task that is done, as on the wire.
#[derive(Serialize, JsonSchema)]
struct Done {
    task_id: TaskId,
    #[schemars(extend("const" = "done"))]
    status: String,
    result: Value,
}

/// The schema of a body with the fields of this verb.
pub(super) fn of_body(verb: &str) -> Value {
    let text = json!({ "type": "string" });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false });
    match verb {
        "settle" => {
            let is_true = json!({ "const": true });
            let push = json!({ "type": "array", "items": { "type": "object" } });
            let retry = json!({ "anyOf": [{ "type": "boolean" }, of_value(ParameterKind::Span, &Handlers::default())] });
            let end = json!({ "oneOf": [
                object(&["lease", "result"], json!({ "lease": text, "result": true, "push": push })),
                object(&["lease", "error"], json!({ "lease": text, "error": text, "retry": retry })),
                object(&["lease", "returned"], json!({ "lease": text, "returned": is_true })),
                object(&["lease", "cancelled"], json!({ "lease": text, "cancelled": is_true })),
            ] });
            object(&["ends"], json!({ "ends": { "type": "array", "items": end, "maxItems": 10_000 } }))
        }
        "heartbeat" => {
            let leases = json!({ "type": "array", "items": text, "maxItems": 10_000 });
            object(&["leases"], json!({ "leases": leases }))
        }
        "progress" => {
            let percent = json!({ "type": "number" });
            object(&["lease"], json!({ "lease": text, "percent": percent, "text": text }))
        }
        "retry" | "forget" => {
            let optional = json!({ "type": ["string", "null"] });
            let cause = json!({ "type": ["string", "null"], "pattern": CAUSE });
            let properties = json!({
                "failed": { "type": ["boolean", "null"] },
                "queue": optional,
                "function": optional,
                "cause": cause,
                "dry_run": { "type": ["boolean", "null"] },
            });
            let mut selection = object(&[], properties);
            let of_cause = json!({ "required": ["cause"], "properties": { "cause": { "type": "string" } } });
            let all = json!({ "required": ["failed"], "properties": { "failed": { "const": true } } });
            selection["anyOf"] = json!([all, of_cause]);
            selection
        }
        "log" => object(&["lease", "text"], json!({ "lease": text, "text": text })),
        _ => json!({ "type": "object" }),
    }
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = PLACE.into();
            settings.meta_schema = None;
        });
        Self { generator: settings.into_generator(), embedded: Map::new() }
    }

    /// The schema of a verb's result.
    pub(super) fn of_result(&mut self, ResultSchema(schema): ResultSchema) -> Value {
        schema(&mut self.generator).into()
    }

    pub(super) fn queued(&mut self) -> Value {
        self.generator.subschema_for::<Queued>().into()
    }

    pub(super) fn done(&mut self) -> Value {
        self.generator.subschema_for::<Done>().into()
    }

    pub(super) fn problem(&mut self) -> Value {
        self.generator.subschema_for::<Document>().into()
    }

    /// A schema of its own, as a part of the document: its definitions move there.
    pub(super) fn embed(&mut self, name: &str, schema: Schema) -> Value {
        let mut schema = Value::from(schema);
        redirect(&mut schema, name);
        bound(&mut schema);
        let Some(object) = schema.as_object_mut() else { return schema };
        object.remove("$schema");
        if let Some(Value::Object(definitions)) = object.remove("$defs") {
            let moved = definitions.into_iter().map(|(part, schema)| (format!("{name}.{part}"), schema));
            self.embedded.extend(moved);
        }
        schema
    }

    /// All schemas that were referred to.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        let mut schemas = self.generator.take_definitions(true);
        schemas.append(&mut self.embedded);
        schemas
    }
}

/// Rewrites references within a schema to the new place of its definitions.
fn redirect(schema: &mut Value, name: &str) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get_mut("$ref") {
                if let Some(part) = reference.strip_prefix("#/$defs/") {
                    *reference = format!("#{PLACE}/{name}.{part}");
                }
            }
            object.values_mut().for_each(|value| redirect(value, name));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| redirect(value, name)),
        _ => {}
    }
}

/// Adds the bounds of numbers of a fixed size, which their format alone does not state.
fn bound(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let bounds = match object.get("format").and_then(Value::as_str) {
                Some("uint32") => Some((0, u64::from(u32::MAX))),
                Some("uint64" | "uint") => Some((0, u64::MAX)),
                Some("int32") => Some((i64::from(i32::MIN), i32::MAX as u64)),
                Some("int64" | "int") => Some((i64::MIN, i64::MAX as u64)),
                _ => None,
            };
            if let Some((least, most)) = bounds {
                object.entry("minimum").or_insert(least.into());
                object.entry("maximum").or_insert(most.into());
            }
            object.values_mut().for_each(bound);
        }
        Value::Array(values) => values.iter_mut().for_each(bound),
        _ => {}
    }
}

/// A number of seconds, or numbers with units.
const SPAN: &str = r"^([0-9]{1,6}(\.[0-9]{1,3})?|[0-9]{1,5} ?(ms|s|m|h)|[0-9]{1,3} ?(d|days?))$";

/// The same, at most 49 days.
const BACKOFF: &str =
    r"^([0-9]{1,6}(\.[0-9]{1,3})?|[0-9]{1,5} ?(ms|s)|[0-9]{1,4} ?m|[0-9]{1,3} ?h|[1-4]?[0-9] ?(d|days?))$";

const CAUSE: &str = "^[0-9a-fA-F]{16}$";

/// A tag whose value has no comma, and fits in any letters.
const TAG: &str = r"^[0-9A-Za-z._-]{1,64}=[!#-+\-.-9;-~]{0,64}$";

const NO_CONTROL: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";

const HEADER_KEY: &str = "^([!#-~]{1,256}|\"[!#-~]{1,256}\")$";

/// The schema of a parameter's value in this program.
pub(super) fn of_value(kind: ParameterKind, handlers: &Handlers) -> Value {
    match kind {
        ParameterKind::Id => {
            json!({ "type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX })
        }
        ParameterKind::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        ParameterKind::Key => {
            json!({ "type": "string", "minLength": 1, "maxLength": 256, "pattern": NO_CONTROL })
        }
        ParameterKind::HeaderKey => json!({ "type": "string", "pattern": HEADER_KEY }),
        ParameterKind::State => json!({ "enum": State::NAMES }),
        ParameterKind::Backoff => {
            json!({ "type": "string", "pattern": BACKOFF, "examples": ["30s"] })
        }
        ParameterKind::Span | ParameterKind::When => {
            json!({ "type": "string", "pattern": SPAN, "examples": ["30s"] })
        }
        ParameterKind::Wait => json!({ "type": "string", "pattern": SPAN, "examples": ["100ms"] }),
        ParameterKind::Moment => json!({ "type": "string", "format": "date-time" }),
        ParameterKind::Cause => json!({ "type": "string", "pattern": CAUSE }),
        ParameterKind::Tags => {
            let tag = json!({ "type": "string", "pattern": TAG });
            json!({ "type": "array", "items": tag, "minItems": 1, "maxItems": TAGS_MAX })
        }
        ParameterKind::Text => json!({ "type": "string" }),
        ParameterKind::Function => json!({ "type": "string", "minLength": 1 }),
        ParameterKind::Queue => {
            let queues = handlers.all_queues();
            json!({ "enum": queues.iter().map(|queue| &**queue).collect::<Vec<_>>() })
        }
        ParameterKind::Texts => json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
        ParameterKind::Names => {
            let functions = handlers.functions();
            let names: Vec<&str> = functions.iter().map(|function| &**function.name()).collect();
            json!({ "type": "array", "items": { "enum": names }, "minItems": 1, "maxItems": 16 })
        }
    }
}
