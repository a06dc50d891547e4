//! The JSON Schemas of what is sent and answered, taken from the types that are.

use std::collections::BTreeSet;

use framework_protocol::Durability;
use framework_protocol::task::{HandlerInfo, Handlers, TaskId};
use framework_protocol::views::{
    AdminResult, BatchInfo, ConnectionInfo, QueueInfo, ScheduleInfo, ServerStatus, State, TaskDetails,
    TaskSummary,
};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::matching::{BodySchema, Kind};
use super::problem::Document;

/// Where the document keeps its schemas.
const PLACE: &str = "/components/schemas";

/// The schemas that a document refers to.
pub(super) struct Schemas {
    generator: SchemaGenerator,
    /// Those of handlers, by the name of the handler and their own.
    embedded: Map<String, Value>,
}

/// What acknowledges a task: the reply of the wire.
#[derive(Serialize, JsonSchema)]
struct Queued {
    task_id: TaskId,
    #[schemars(extend("const" = "queued"))]
    status: String,
    durability: Durability,
}

/// The end of a task that is done: the reply of the wire.
#[derive(Serialize, JsonSchema)]
struct Done {
    task_id: TaskId,
    #[schemars(extend("const" = "done"))]
    status: String,
    result: Value,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
            settings.definitions_path = PLACE.into();
            settings.meta_schema = None;
        });
        Self { generator: settings.into_generator(), embedded: Map::new() }
    }

    /// The schema of what an answer holds.
    pub(super) fn of(&mut self, holds: BodySchema) -> Value {
        let generator = &mut self.generator;
        let schema = match holds {
            BodySchema::Queued => generator.subschema_for::<Queued>(),
            BodySchema::Done => generator.subschema_for::<Done>(),
            BodySchema::Story => generator.subschema_for::<TaskDetails>(),
            BodySchema::Tasks => generator.subschema_for::<Vec<TaskSummary>>(),
            BodySchema::Changed => generator.subschema_for::<AdminResult>(),
            BodySchema::Status => generator.subschema_for::<ServerStatus>(),
            BodySchema::Connections => generator.subschema_for::<Vec<ConnectionInfo>>(),
            BodySchema::Functions => generator.subschema_for::<Vec<HandlerInfo>>(),
            BodySchema::Queues => generator.subschema_for::<Vec<QueueInfo>>(),
            BodySchema::Batches => generator.subschema_for::<Vec<BatchInfo>>(),
            BodySchema::Batch => generator.subschema_for::<BatchInfo>(),
            BodySchema::Schedules => generator.subschema_for::<Vec<ScheduleInfo>>(),
            BodySchema::Object => return json!({ "type": "object" }),
            BodySchema::Lines | BodySchema::Events => return json!({ "type": "string" }),
        };
        schema.into()
    }

    pub(super) fn problem(&mut self) -> Value {
        self.generator.subschema_for::<Document>().into()
    }

    /// A schema that stands for itself as a part of the document: what it refers to moves there.
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

    /// All that was referred to.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        let mut schemas = self.generator.take_definitions(true);
        schemas.append(&mut self.embedded);
        schemas
    }
}

/// Lets references within a schema point to where its definitions have moved.
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

/// Says of numbers of a fixed size how large they may be, which their format alone does not.
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

const HEADER_KEY: &str = "^([!#-~]{1,256}|\"[!#-~]{1,256}\")$";

impl Kind {
    /// What a value has to look like in this program.
    pub(super) fn schema(self, handlers: &Handlers) -> Value {
        match self {
            Self::Id => json!({ "type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX }),
            Self::Number(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Self::Key => json!({ "type": "string", "minLength": 1, "maxLength": 256 }),
            Self::HeaderKey => json!({ "type": "string", "pattern": HEADER_KEY }),
            Self::State => json!({ "enum": State::NAMES }),
            Self::Span | Self::When => {
                json!({ "type": "string", "pattern": SPAN, "examples": ["30s"] })
            }
            Self::Wait => json!({ "type": "string", "pattern": SPAN, "examples": ["100ms"] }),
            Self::Moment => json!({ "type": "string", "format": "date-time" }),
            Self::Text => json!({ "type": "string" }),
            Self::Function => json!({ "type": "string", "minLength": 1 }),
            Self::Queue => {
                let queues: BTreeSet<_> = handlers.queues().collect();
                json!({ "enum": queues })
            }
            Self::Names => {
                let names: Vec<_> = handlers.iter().map(|handler| handler.name).collect();
                json!({ "type": "array", "items": { "enum": names }, "minItems": 1, "maxItems": 16 })
            }
        }
    }
}
