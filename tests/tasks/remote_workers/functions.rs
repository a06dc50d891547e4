//! Registered functions on the command line: task:functions, and the options of task:send.

use serde_json::{Value, json};

use super::TestWorker;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

/// A function with an argument of every kind.
fn resize() -> Value {
    json!({"name": "resize", "queue": "images", "schema": {
        "type": "object",
        "description": "Scale a picture",
        "properties": {
            "width": {"type": "integer", "minimum": 1, "description": "In \u{1b}[31mpixels"},
            "ratio": {"type": "number"},
            "keep_exif": {"type": "boolean"},
            "name": {"type": "string"},
            "format": {"enum": ["png", "jpeg"]},
            "meta": {"type": "object"},
            "points": {"type": "array", "items": {"type": "integer"}},
            "bad\u{1b}[31m": {"type": "string"}
        },
        "required": ["width"],
        "additionalProperties": false
    }})
}

fn join(server: &Server, name: &str, functions: &Value) -> TestWorker {
    TestWorker::join_with(server, json!({"worker": name, "credit": 9, "functions": functions}))
}

/// Sends with these words, and returns the arguments of the task.
#[track_caller]
fn sent(server: &Server, words: &[&str]) -> Value {
    let ran = server.think(&[&["task:send"], words].concat()).exits(0);
    server.think(&["task:show", ran.stdout.trim(), "--json"]).exits(0).json()["args"].clone()
}

#[test]
fn task_functions_shows_registered_functions_and_who_runs_them() {
    for durability in ["fsync", "memory"] {
        let server = Server::with_settings(&format!("durability = \"{durability}\"\n"));
        let worker = join(&server, "host:17", &json!([resize()]));
        let list = server.think(&["task:functions"]).exits(0).stdout;
        assert!(list.contains("resize") && list.contains("1: host:17"), "{list}");
        assert!(list.contains("send_mail") && list.contains("Scale a picture"), "{list}");
        let text = server.think(&["task:functions", "resize"]).exits(0).stdout;
        for part in ["Scale a picture", "images, priority", "1: host:17", "width", "integer", "png|jpeg"] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let info = server.think(&["task:functions", "resize", "--json"]).exits(0).json();
        assert_eq!(info["schema"]["required"], json!(["width"]));
        assert_eq!(info["workers"]["names"], json!(["host:17"]));
        let request = "GET /functions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let served = server.connect().send(request).rest();
        assert!(served.contains("\"host:17\""), "{served}");
        let ran = server.think(&["task:functions", "resise"]).exits(2);
        assert!(ran.stderr.contains("Did you mean \"resize\"?"), "{ran:?}");
        drop(worker);
        wait_until("the worker is gone", || {
            server.think(&["task:functions", "resize"]).stdout.contains("nobody runs it since 20")
        });
        let all = server.think(&["task:functions", "--json"]).exits(0).json();
        let names: Vec<_> =
            all.as_array().unwrap().iter().map(|info| info["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["batch_ended", "command", "crash", "echo", "noop", "resize", "send_mail"]);
    }
}

#[test]
fn task_functions_shows_registered_functions_after_a_restart() {
    let server = Server::start();
    drop(join(&server, "host:17", &json!([resize()])));
    server.project.think("task:stop").exits(0);
    let server = server.again("");
    let list = server.think(&["task:functions"]).exits(0).stdout;
    assert!(list.contains("nobody runs it since 20"), "{list}");
    let help = server.think(&["task:send", "resize", "--help"]).exits(0).stdout;
    assert!(help.contains("--width <INTEGER>"), "{help}");
}

#[test]
fn task_send_takes_the_arguments_of_a_registered_function_as_options() {
    let server = Server::start();
    let _worker = join(&server, "host:17", &json!([resize()]));
    for (words, args) in [
        (&["--width", "21"][..], json!({"width": 21})),
        (&["--width=21", "--ratio", "-0.5"], json!({"width": 21, "ratio": -0.5})),
        (&["--width=21", "--keep-exif"], json!({"width": 21, "keep_exif": true})),
        (&["--width=21", "--no-keep-exif"], json!({"width": 21, "keep_exif": false})),
        (
            &["--width=21", "--name", "7", "--format", "png"],
            json!({"width": 21, "name": "7", "format": "png"}),
        ),
        (&["--width=21", "--meta", "{\"a\":[1]}"], json!({"width": 21, "meta": {"a": [1]}})),
        (&["--width=21", "--points", "[1,2]"], json!({"width": 21, "points": [1, 2]})),
        (&["--width=21", "--points", "1", "--points", "2"], json!({"width": 21, "points": [1, 2]})),
        (&["{\"width\":21}"], json!({"width": 21})),
    ] {
        assert_eq!(sent(&server, &[&["resize"], words].concat()), args, "{words:?}");
    }
    let help = server.think(&["task:send", "resize", "--help"]).exits(0).stdout;
    for part in ["Arguments of resize:", "--width <INTEGER>", "pixels [required]", "--format <png|jpeg>"] {
        assert!(help.contains(part), "no {part:?} in:\n{help}");
    }
    assert!(!help.contains('\u{1b}'), "{help:?}");
    assert_eq!(server.think(&["-h", "task:send", "resize"]).exits(0).stdout, help);
}

#[test]
fn task_send_refuses_wrong_arguments_of_a_registered_function() {
    let server = Server::start();
    let shout = json!({"name": "shout", "schema": {"type": "string"}});
    let _worker = join(&server, "host:17", &json!([resize(), shout]));
    for (words, code, says) in [
        ("resize --widht 21", 2, "a similar argument exists: '--width'"),
        ("resize --width x", 2, "invalid value 'x' for '--width <INTEGER>': it is not an integer"),
        ("resize --width 0", 2, "it is below 1"),
        ("resize --width 1 --format pgn", 2, "there are: png, jpeg"),
        ("resize --name a", 2, "resize also requires --width <INTEGER>"),
        ("resize", 2, "resize requires --width <INTEGER>"),
        ("resise --width 21", 2, "There is no function \"resise\". Did you mean \"resize\"?"),
        ("nonsense --width 21", 2, "unexpected argument '--width'"),
        ("resize {\"width\":0}", 5, "do not fit the function \"resize\" at /width"),
        ("resize {\"width\":1,\"colour\":2}", 5, "do not fit the function \"resize\""),
        ("resize hello", 2, "the arguments are not JSON"),
        ("shout --text hello", 2, "unexpected argument '--text'"),
    ] {
        let words: Vec<_> = words.split(' ').collect();
        let ran = server.think(&[&["task:send"], words.as_slice()].concat()).exits(code);
        assert!(ran.stderr.contains(says), "{words:?}: {ran:?}");
    }
    assert_eq!(server.status()["ledger"]["accepted"], 0);
    assert_eq!(sent(&server, &["shout", "hello"]), json!("hello"));
    assert_eq!(sent(&server, &["shout", "5"]), json!("5"));
}

#[test]
fn task_send_says_why_the_arguments_of_a_function_are_not_known() {
    let project = crate::harness::Project::new();
    let ran = project.think("task:send picture --width 21").exits(2);
    let says = "this program has no function \"picture\", and no server is running";
    assert!(ran.stderr.contains("unexpected argument '--width'"), "{ran:?}");
    assert!(ran.stderr.contains(says), "{ran:?}");
    let help = project.think("task:send picture --help").exits(0).stdout;
    assert!(help.contains("The arguments of \"picture\" are not known: no server is running"), "{help}");
}
