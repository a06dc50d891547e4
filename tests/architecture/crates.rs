//! Which crate depends on which.

use std::process::Command;

use serde_json::{Value, json};

use super::faults;
use super::imports::imports;
use super::source::Source;

/// The crates of the workspace; each depends only on crates of earlier layers.
const LAYERS: [&[&str]; 7] = [
    &["think-console", "think-macros"],
    &["think-protocol"],
    &["think-client", "think-server"],
    &["think-foreign", "think-postgres", "think-web"],
    &["think-framework"],
    &["think-commands"],
    &["think"],
];

/// What Cargo knows of the workspace.
pub(super) fn metadata() -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"]);
    let output = cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Checks what the crates of the workspace depend on, apart from their tests.
pub(super) fn layers(metadata: &Value) -> Vec<String> {
    let layer = |name: &Value| LAYERS.iter().position(|names| names.iter().any(|known| name == known));
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let (name, here) = (&package["name"], layer(&package["name"]));
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let used = dependencies.filter(|dependency| dependency["kind"] != "dev").map(|used| &used["name"]);
        let wrong =
            used.filter(|name| layer(name).is_some_and(|there| here.is_none_or(|here| there >= here)));
        faults.extend(wrong.map(|other| format!("{name} depends on {other}, which is in no earlier layer")));
    }
    faults
}

/// The one path by which the program names its built-in commands.
const LINK: [&str; 2] = ["commands", "console"];

/// Checks that `app/main.rs` says `commands::console!()`, and that nothing else in `app` names the commands.
pub(super) fn linked_commands(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut is_linked = false;
    for source in sources.iter().filter(|source| source.crate_root() == "app") {
        for import in imports(source).into_iter().filter(|import| import.path[0] == "commands") {
            if source.path == "app/main.rs" && import.path == LINK && !is_linked {
                is_linked = true;
            } else {
                faults.push(source.at(import.line, "names a built-in command"));
            }
        }
    }
    if !is_linked {
        faults.insert(0, "app/main.rs: `commands::console!()` is missing".to_owned());
    }
    faults
}

#[test]
fn layers_finds_a_dependency_on_a_later_crate() {
    let found = |name: &str, used: &str, kind: Value| {
        layers(&json!({"packages": [{"name": name, "dependencies": [{"name": used, "kind": kind}]}]}))
    };
    let fault = r#""think-client" depends on "think-server", which is in no earlier layer"#;
    assert_eq!(found("think-client", "think-server", Value::Null), [fault]);
    assert_eq!(found("think-console", "think-framework", json!("dev")).len(), 0);
    assert_eq!(found("think-new", "think-framework", Value::Null).len(), 1, "a crate without a layer");
}

#[test]
fn linked_commands_finds_a_missing_link_and_every_other_use() {
    let found = |text| faults(linked_commands, &[("app/main.rs", text)]);
    assert_eq!(found("fn main() { commands::console!().run() }"), Vec::<String>::new());
    assert_eq!(found("// commands::console!()"), ["app/main.rs: `commands::console!()` is missing"]);
    let other = "fn main() { commands::console!().run() }\nfn f() { commands::list() }";
    assert_eq!(found(other), ["app/main.rs:2: names a built-in command"]);
}
