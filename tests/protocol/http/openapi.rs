//! The OpenAPI document, compared with the server by an independent tool.

use std::process::Command;

use serde_json::Value;

use super::{quiet, with_settings};
use crate::harness::curl::curl;
use crate::harness::{Ran, installed, project_root};

#[test]
fn openapi_document_matches_the_server() {
    // So long that no time which the document allows is too long.
    let server = with_settings("max_http_wait = \"80years\"\n");
    let ran = Ran::of(
        Command::new(installed().replace("bin/python", "bin/schemathesis"))
            .arg("--config-file")
            .arg(project_root().join("tests/protocol/http/schemathesis.toml"))
            .args(["run", &format!("http://{}/openapi.json", server.address)])
            // Streams of events have no end of their own, and nobody has a task for a worker; nor does the server
            // let itself be ended.
            .args(["--exclude-path-regex", "events$|crash$|work$", "--phases", "examples,coverage,fuzzing"])
            .args(["--max-examples", "5", "--seed", "1", "--request-timeout", "60"])
            // A slow machine and cases that the hooks filter are no failures.
            .args(["--suppress-health-check", "all"])
            .args(["--continue-on-failure", "--no-color"])
            .current_dir(server.project.path(""))
            .env("PYTHONPATH", project_root().join("tests/protocol/http"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("SCHEMATHESIS_HOOKS", "hooks"),
    )
    .exits(0);
    assert!(ran.stdout.contains("31 selected / 36 total"), "{}", ran.stdout);
}

#[test]
fn openapi_document_covers_every_route_and_handler() {
    let server = quiet();
    let document = curl(&server, &["/openapi.json"]).is(200).json();
    let index = curl(&server, &["/"]).is(200).json();
    for route in index["routes"].as_object().unwrap().keys() {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{function}", "echo");
        assert!(document["paths"][&path][method.to_lowercase()].is_object(), "{route}");
    }
    let mail = &document["paths"]["/tasks/send_mail"]["post"]["requestBody"];
    assert_eq!(mail["content"]["application/json"]["schema"]["additionalProperties"], false);
    assert_eq!(mail["required"], true);
    assert_eq!(document["paths"]["/tasks/noop"]["post"]["requestBody"]["required"], false);
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            references.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
