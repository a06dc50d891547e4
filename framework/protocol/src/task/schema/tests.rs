//! Schemas of all kinds of structs.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use framework_macros::Task;
use schemars;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::super::{Attempt, Handle, Task};

/// Registered by nobody's server: only their schemas matter.
macro_rules! unhandled {
    ($($task:ident),*) => {$(
        impl Handle for $task {
            type Output = ();

            async fn handle(self, _attempt: &Attempt) -> Result<()> {
                Ok(())
            }
        }
    )*};
}
unhandled!(Everything, Defaults, Renamed, Pair, Text, Unit, Tree, Parsed, Spread);

fn schema<T: Task>() -> Value {
    T::schema().to_value()
}

fn property<T: Task>(name: &str) -> Value {
    schema::<T>()["properties"][name].clone()
}

/// A type that serde alone knows.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Opaque(u8);

#[derive(Debug, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "schemars")]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
    Green,
}

/// Do everything
///
/// Also what nobody wants.
#[derive(Debug, Serialize, Deserialize, Task)]
#[serde(deny_unknown_fields)]
#[task(name = "test_everything")]
struct Everything {
    /// How many
    count: u8,
    ratio: f64,
    on: bool,
    names: Vec<String>,
    maybe: Option<String>,
    ages: HashMap<String, u32>,
    any: Value,
    opaque: Opaque,
    opaques: Vec<Opaque>,
    maybe_opaque: Option<Opaque>,
    colour: Colour,
    pair: (u8, Opaque),
    three: [i64; 3],
    #[serde(alias = "to_email", alias = "mail_to")]
    to: String,
    #[serde(deserialize_with = "loosely")]
    loose: u64,
    #[serde(deserialize_with = "loosely")]
    #[schemars(with = "String")]
    told: u64,
    #[serde(skip)]
    _cache: Opaque,
}

fn loosely<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    u64::deserialize(deserializer)
}

#[test]
fn every_field_has_its_type_and_its_documentation() {
    let whole = schema::<Everything>();
    assert_eq!(whole["title"], "Everything");
    assert_eq!(whole["description"], "Do everything\n\nAlso what nobody wants.");
    assert_eq!((&whole["type"], &whole["additionalProperties"]), (&json!("object"), &json!(false)));
    let of = property::<Everything>;
    let count = json!({"type": "integer", "format": "uint8", "minimum": 0, "maximum": 255, "description": "How many"});
    assert_eq!(of("count"), count);
    assert_eq!((&of("ratio")["type"], &of("on")["type"]), (&json!("number"), &json!("boolean")));
    assert_eq!(of("names"), json!({"type": "array", "items": {"type": "string"}}));
    assert_eq!(of("maybe"), json!({"type": ["string", "null"]}));
    assert_eq!(
        (&of("ages")["type"], &of("ages")["additionalProperties"]["type"]),
        (&json!("object"), &json!("integer"))
    );
    assert_eq!(of("any"), json!(true));
    assert_eq!(of("three")["items"]["type"], "integer");
    assert_eq!(of("_cache"), Value::Null);
    assert_eq!(whole["$defs"]["Colour"]["enum"], json!(["red", "green"]));
    assert_eq!(of("colour"), json!({"$ref": "#/$defs/Colour"}));
    assert_eq!(of("to"), json!({"type": "string", "x-aliases": ["to_email", "mail_to"]}));
}

#[test]
fn a_type_without_a_schema_allows_any_value_and_a_field_of_it_may_still_be_optional() {
    let of = property::<Everything>;
    assert_eq!(of("opaque"), json!(true));
    assert_eq!(of("opaques"), json!({"type": "array", "items": true}));
    assert_eq!(of("pair")["prefixItems"][1], json!(true));
    assert_eq!(of("loose"), json!(true));
    assert_eq!(of("told"), json!({"type": "string"}));
    let required = schema::<Everything>()["required"].clone();
    let names = "count ratio on names ages any opaque opaques colour pair three to loose told";
    assert_eq!(required, json!(names.split(' ').collect::<Vec<_>>()));
}

#[derive(Serialize, Deserialize, Task)]
#[serde(default)]
#[task(name = "test_defaults")]
struct Defaults {
    port: u16,
    opaque: Opaque,
    #[serde(default = "nine")]
    nine: u8,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { port: 9501, opaque: Opaque(3), nine: 0 }
    }
}

fn nine() -> u8 {
    9
}

#[test]
fn defaults_are_told_and_what_has_one_is_not_required() {
    let of = |name| property::<Defaults>(name)["default"].clone();
    assert_eq!((of("port"), of("opaque"), of("nine")), (json!(9501), json!(3), json!(9)));
    assert_eq!(schema::<Defaults>()["required"], Value::Null);
}

#[derive(Serialize, Deserialize, Task)]
#[serde(rename_all = "camelCase")]
#[task(name = "test_renamed")]
struct Renamed {
    first_name: String,
    #[serde(rename = "Age")]
    age: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<u8>,
}

#[test]
fn fields_have_the_names_of_the_wire() {
    let properties = schema::<Renamed>()["properties"].clone();
    assert_eq!(properties.as_object().unwrap().keys().collect::<Vec<_>>(), ["Age", "firstName", "type"]);
    assert_eq!(schema::<Renamed>()["required"], json!(["firstName", "Age"]));
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_pair")]
struct Pair(u8, String);

/// Say a text back
#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_text")]
struct Text(String);

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_unit")]
struct Unit;

#[test]
fn structs_without_names_are_what_serde_makes_of_them() {
    assert_eq!(schema::<Pair>()["prefixItems"][1]["type"], "string");
    let text = schema::<Text>();
    assert_eq!((&text["type"], &text["description"]), (&json!("string"), &json!("Say a text back")));
    assert_eq!(schema::<Unit>()["type"], "null");
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_tree")]
struct Tree {
    children: Vec<Tree>,
    by_name: BTreeMap<String, Box<Self>>,
}

#[test]
fn a_task_may_be_made_of_itself() {
    assert_eq!(property::<Tree>("children"), json!({"type": "array", "items": {"$ref": "#"}}));
    assert_eq!(property::<Tree>("by_name")["additionalProperties"], json!({"$ref": "#"}));
}

/// Read otherwise
#[derive(Clone, Serialize, Deserialize, Task)]
#[serde(try_from = "String", into = "String")]
#[task(name = "test_parsed")]
struct Parsed(u8);

impl TryFrom<String> for Parsed {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<Parsed> for String {
    fn from(parsed: Parsed) -> Self {
        parsed.0.to_string()
    }
}

#[test]
fn a_task_that_is_made_of_another_type_has_that_types_schema() {
    let parsed = schema::<Parsed>();
    assert_eq!((&parsed["type"], &parsed["description"]), (&json!("string"), &json!("Read otherwise")));
}

#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(crate = "schemars")]
struct Page {
    limit: u8,
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_spread")]
struct Spread {
    to: String,
    #[serde(flatten)]
    page: Page,
    #[serde(flatten)]
    other: HashMap<String, Value>,
}

#[test]
fn flat_fields_are_those_of_the_struct_around_them() {
    let spread = schema::<Spread>();
    assert_eq!(spread["properties"].as_object().unwrap().keys().collect::<Vec<_>>(), ["limit", "to"]);
    assert_eq!(
        (&spread["required"], &spread["additionalProperties"]),
        (&json!(["to", "limit"]), &json!(true))
    );
}
