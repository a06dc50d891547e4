//! Task types and their arguments: task:functions, the wire's `functions`, and the options of task:send.

use serde_json::{Value, json};

use crate::harness::process::make_fifo;
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

fn think(arguments: &str) -> Ran {
    Project::new().think(arguments)
}

/// Sends with these arguments, and returns those of the task.
fn send_args(server: &Server, arguments: &[&str]) -> Value {
    let ran = server.think(&[&["task:send"], arguments].concat()).exits(0);
    server.think(&["task:show", ran.stdout.trim(), "--json"]).exits(0).json()["args"].clone()
}

#[test]
fn task_functions_lists_without_a_server() {
    let list = think("task:functions").exits(0).stdout;
    assert!(list.contains("\nsend_mail    mail     Send one mail\n"), "{list}");
    let all = think("task:functions --json").exits(0).json();
    let names: Vec<_> = all.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["batch_ended", "command", "crash", "echo", "noop", "send_mail"]);
}

#[test]
fn task_functions_shows_options_and_arguments() {
    let text = think("task:functions send_mail").exits(0).stdout;
    for part in
        ["Send one mail", "mail, priority 5", "timeout         30s", "app/task/send_mail.rs:", "to_email"]
    {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    let row = text.lines().find(|line| line.starts_with("to ")).unwrap();
    assert_eq!(row.split_whitespace().take(4).collect::<Vec<_>>(), ["to", "string", "yes", "to_email"]);
    let story = think("task:functions send_mail --json").exits(0).json();
    assert_eq!((&story["queue"], &story["timeout_ms"]), (&json!("mail"), &json!(30_000)));
    assert_eq!(story["schema"]["required"], json!(["to", "content"]));
    assert!(think("task:functions echo").exits(0).stdout.contains("one value: string"));
    assert!(think("task:functions noop").exits(0).stdout.contains("one value: any"));
}

#[test]
fn task_functions_suggests_the_nearest_name() {
    let ran = think("task:functions sendmail").exits(2);
    assert_eq!(ran.stderr, "error: There is no function \"sendmail\". Did you mean \"send_mail\"?\n");
}

#[test]
fn functions_command_returns_all_or_one() {
    let server = Server::start();
    let mut client = server.connect();
    let all = client.send("{\"command\":\"functions\",\"id\":1}\n").json();
    assert_eq!((&all["id"], all["result"].as_array().unwrap().len()), (&json!(1), 6));
    let one = client.send("{\"command\":\"functions\",\"function\":\"send_mail\"}\n").json();
    let shown = think("task:functions send_mail --json").exits(0).json();
    assert_eq!(one["result"], json!([shown]));
    let none = client.send("{\"command\":\"functions\",\"function\":\"sendmail\"}\n").json();
    assert_eq!((&none["code"], &none["suggestion"]), (&json!("unknown_function"), &json!("send_mail")));
}

#[test]
fn task_send_takes_arguments_as_options() {
    let server = Server::start();
    server.project.write("body.txt", "Dear Ada,\n");
    let body = format!("@{}", server.project.path("body.txt").display());
    let args = send_args(
        &server,
        &["send_mail", "--to", "ada@example.com", "--title=Hi --there", "--content", &body],
    );
    assert_eq!(args, json!({"to": "ada@example.com", "title": "Hi --there", "content": "Dear Ada,\n"}));
    let own = [
        "send_mail",
        "--delay",
        "1h",
        "--to_email",
        "ada@example.com",
        "--priority=9",
        "--contents",
        "Hello",
    ];
    assert_eq!(send_args(&server, &own), json!({"to": "ada@example.com", "content": "Hello"}));
    assert_eq!(server.think(&["task:show", "1", "--json"]).json()["priority"], 9);
    assert_eq!(send_args(&server, &["echo", "\"-5\""]), json!("-5"));
    let counts = ["--total", "4", "--done", "3", "--failed", "1", "--cancelled", "0", "--expired", "0"];
    let named = [&["batch_ended", "--batch=1", "--name", "users", "--wait"], counts.as_slice()].concat();
    let ran = server.think(&[&["task:send"], named.as_slice()].concat()).exits(0);
    assert!(ran.stdout.contains("Batch 1 (users) has ended: 3 of 4 done, 1 not"), "{ran:?}");
}

/// There is no server at all, which would be another exit code.
#[test]
fn task_send_rejects_invalid_options_before_sending() {
    let refused = |arguments: &str, part: &str| {
        let stderr = think(&format!("task:send {arguments}")).exits(2).stderr;
        assert!(stderr.contains(part), "no {part:?} in:\n{stderr}");
    };
    refused("send_mail --titel Hi --to a@example.com", "a similar argument exists: '--title'");
    refused("send_mail --to a@example.com", "send_mail also requires --content <TEXT>");
    refused("batch_ended --batch x", "invalid value 'x' for '--batch <INTEGER>': it is not an integer");
    refused("sendmail --to a@example.com", "There is no function \"sendmail\". Did you mean \"send_mail\"?");
    refused("nonsense --to a@example.com", "unexpected argument '--to'");
    refused("echo --text hello", "unexpected argument '--text'");
    refused("send_mail {} --to a@example.com", "either as JSON or as options, not both");
    refused("send_mail {} --dleay 1h", "a similar argument exists: '--delay'");
    refused("hello --dleay 1h", "a similar argument exists: '--delay'");
    refused("send_mail {} {}", "unexpected argument '{}'");
    refused("--wait", "<FUNCTION|JSON>");
    refused("send_mail --to @/dev/zero", "reading /dev/zero: it is a device, not a regular file");
    refused("send_mail --to @/tmp", "reading /tmp: it is a directory, not a regular file");
}

#[test]
fn task_send_refuses_a_named_pipe_as_an_argument() {
    let project = Project::new();
    make_fifo(&project.path("pipe"));
    let ran = project.think("task:send send_mail --content @pipe --to a@example.com").exits(2);
    assert!(ran.stderr.contains("reading pipe: it is a named pipe, not a regular file"), "{ran:?}");
    let ran = project.think("queue:check --file pipe").exits(2);
    assert!(ran.stderr.contains("pipe is not a regular file"), "{ran:?}");
}

#[test]
fn task_send_takes_a_value_that_begins_with_a_hyphen() {
    let server = Server::start();
    let mail = ["send_mail", "--title", "-5 degrees", "--to", "a@example.com", "--content", "- one\n- two"];
    let args = json!({"to": "a@example.com", "title": "-5 degrees", "content": "- one\n- two"});
    assert_eq!(send_args(&server, &mail), args);
}

#[test]
fn task_send_help_lists_the_arguments() {
    let help = think("task:send send_mail --help").exits(0).stdout;
    for part in [
        "Arguments of send_mail:",
        "--to <TEXT>",
        "Recipient",
        "[required]",
        "Global options:",
        "--delay <TIME>",
    ] {
        assert!(help.contains(part), "no {part:?} in:\n{help}");
    }
    let plain = think("task:send --help").exits(0).stdout;
    for way in ["task:send --wait send_mail --to a@example.com -h", "-h task:send send_mail"] {
        assert_eq!(think(way).exits(0).stdout, help, "{way}");
    }
    let own = help.find("Arguments of send_mail:").unwrap();
    assert!(own < help.find("\nOptions:").unwrap(), "the function's own arguments come first:\n{help}");
    for line in plain.lines() {
        assert!(help.contains(line), "no {line:?} in:\n{help}");
    }
}
