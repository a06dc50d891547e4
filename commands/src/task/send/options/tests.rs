//! Options of functions of all kinds.

use framework::schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "framework::schemars")]
#[serde(rename_all = "lowercase")]
enum Size {
    Small,
    Large,
}

/// A function with an argument of every kind
#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_resize")]
struct Resize {
    /// The picture
    #[serde(alias = "file_name")]
    path: String,
    width: u16,
    #[serde(default)]
    ratio: Option<f64>,
    #[serde(default)]
    keep_exif: bool,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    sizes: Vec<Size>,
    #[serde(default)]
    size: Option<Size>,
    #[serde(default)]
    box_: Option<Vec<(u8, u8)>>,
    #[serde(default)]
    meta: Value,
    #[serde(default)]
    delay: Option<u32>,
}

impl Handle for Resize {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

/// Whether something is on, and it has to be said
#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_turn")]
struct Turn {
    on: bool,
}

impl Handle for Turn {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

/// The arguments that these words after `task:send` become.
fn of(function: &str, words: &[&str]) -> Result<Value, String> {
    let own = [Arg::new("message"), Arg::new("wait").long("wait").action(ArgAction::SetTrue)];
    let words: Vec<_> = [&[function], words].concat().into_iter().map(OsString::from).collect();
    let handler = Handlers::collect().unwrap().find(function).unwrap().describe();
    let command = describe(Command::new("task:send").no_binary_name(true).args(own), &handler);
    let told = |error: clap::Error| error.to_string();
    let named = NamedArguments::from_arg_matches(&command.try_get_matches_from(&words).map_err(told)?)
        .map_err(told)?;
    let args = named.complete(&handler).map_err(|error| {
        assert_eq!(Exit::of(&error), Exit::Usage);
        error.to_string()
    })?;
    let args = Value::Object(args.clone());
    Handlers::collect().unwrap().find(function).unwrap().check(args.to_string().as_bytes()).unwrap();
    Ok(args)
}

fn resize(words: &[&str]) -> Result<Value, String> {
    of("test_resize", words)
}

/// With what is required, and without it in the answer.
fn more(words: &[&str]) -> Result<Value, String> {
    let mut args = resize(&[&["--path", "a.png", "--width=5"], words].concat())?;
    args.as_object_mut().unwrap().retain(|name, _| !["path", "width"].contains(&name.as_str()));
    Ok(args)
}

#[track_caller]
fn assert_says(read: Result<Value, String>, parts: &[&str]) {
    let error = read.unwrap_err();
    assert!(parts.iter().all(|part| error.contains(part)), "not all of {parts:?} in:\n{error}");
}

#[test]
fn options_become_values_of_the_types_in_the_schema() {
    assert_eq!(resize(&["--path", "7", "--width", "5"]), Ok(json!({"path": "7", "width": 5})));
    assert_eq!(more(&["--ratio", "-1.5"]), Ok(json!({"ratio": -1.5})));
    assert_eq!(more(&["--ratio=null"]), Ok(json!({"ratio": null})));
    assert_eq!(more(&["--size", "large"]), Ok(json!({"size": "large"})));
    assert_eq!(more(&["--meta", r#"{"a":[1]}"#]), Ok(json!({"meta": {"a": [1]}})));
    assert_eq!(more(&["--meta", "plain"]), Ok(json!({"meta": "plain"})));
}

#[test]
fn switch_needs_no_value_and_has_an_opposite() {
    for (word, on) in [
        ("--keep-exif", true),
        ("--keep_exif=true", true),
        ("--keep-exif=false", false),
        ("--no-keep-exif", false),
    ] {
        assert_eq!(more(&[word]), Ok(json!({"keep_exif": on})), "{word}");
        assert_eq!(of("test_turn", &["--no-on"]), Ok(json!({"on": false})));
    }
    assert_says(of("test_turn", &["--on=yes"]), &["--on", "yes", "it is not true or false"]);
}

#[test]
fn list_is_an_option_that_is_repeated() {
    assert_eq!(more(&["--tags", "a", "--tags", "b"]), Ok(json!({"tags": ["a", "b"]})));
    assert_eq!(more(&["--tags", "a"]), Ok(json!({"tags": ["a"]})));
    assert_eq!(more(&["--sizes=small", "--sizes=large"]), Ok(json!({"sizes": ["small", "large"]})));
    assert_eq!(more(&["--box-", "[1,2]"]), Ok(json!({"box_": [[1, 2]]})));
}

#[test]
fn options_have_all_names_and_a_prefix_if_the_command_takes_one() {
    let long = Ok(json!({"path": "a", "width": 1}));
    for name in ["--path", "--file-name", "--file_name", "--args.path"] {
        assert_eq!(resize(&[name, "a", "--width=1"]), long, "{name}");
    }
    assert_eq!(more(&["--args.delay", "3"]), Ok(json!({"delay": 3})));
    let handlers = Handlers::collect().unwrap();
    let own = Command::new("").arg(Arg::new("delay").long("delay"));
    let help = describe(own, &handlers.find("test_resize").unwrap().describe()).render_help().to_string();
    assert!(help.contains("--args.delay <INTEGER>") && help.contains("--keep-exif"), "{help}");
}

#[test]
fn value_may_be_read_from_a_file() {
    let word = concat!("@", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let text = include_str!("../../../../Cargo.toml");
    assert_eq!(more(&["--tags", word]), Ok(json!({"tags": [text]})));
    assert_eq!(more(&["--tags", "@@home"]), Ok(json!({"tags": ["@home"]})));
    assert_says(more(&["--tags", "@gone"]), &["reading gone: ", "write @@gone"]);
}

#[test]
fn mistakes_name_the_option() {
    assert_says(resize(&["--width", "5"]), &["test_resize also requires --path <TEXT>"]);
    assert_says(resize(&["--tags=a"]), &["also requires --path <TEXT>, --width <INTEGER>"]);
    assert_says(more(&["--ratio", "much"]), &["much", "--ratio <NUMBER>", "it is not a number"]);
    assert_says(
        resize(&["--path=a", "--width=70000"]),
        &["70000", "--width <INTEGER>", "it is not in 0 to 65535"],
    );
    assert_says(more(&["--size", "lage"]), &["did you mean \"large\"?"]);
    assert_says(more(&["--widht", "5"]), &["unexpected argument '--widht'", "'--width'"]);
    assert_says(more(&["--wiat"]), &["unexpected argument '--wiat'", "'--wait'"]);
    assert_says(more(&["stray"]), &["unexpected argument 'stray'"]);
    assert_says(more(&["--path", "again"]), &["--path", "cannot be used multiple times"]);
    assert_says(of("test_turn", &["--on", "--no-on"]), &["cannot be used with"]);
}
