//! Access: tokens, their scopes, and clients without one.

mod revoked;
mod secrets;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::client::{Client, ask_unix, unix};
use crate::harness::eventually::wait_until;
use crate::harness::frames::{frame, read_frame};
use crate::harness::server::Server;
use crate::harness::websocket::WebSocketClient;
use crate::harness::{Project, Ran};

const SENDER: &str = "sender-0123456789";
const READER: &str = "reader-0123456789";
const ADMIN: &str = "admin-0123456789";

const STATUS: &str = "{\"command\":\"status\"}\n";
const NOOP: &str = "{\"function\":\"noop\"}\n";
const FLUSH: &str = "{\"command\":\"flush\"}\n";

/// Replaces a file by one that only its owner can read, at once.
fn write_secret(project: &Project, file: &str, text: &str) {
    project.write_secret("written", text);
    fs::rename(project.path("written"), project.path(file)).unwrap();
}

/// A server with the three tokens in a file.
fn guarded(settings: &str) -> Server {
    let project = Project::new();
    project.write("config/server.toml", &format!("tokens_file = \"tokens\"\n{settings}"));
    let tokens = format!("# of the test\n\n{SENDER} send # web\n{READER}\tinspect\n{ADMIN} send, admin\n");
    write_secret(&project, "tokens", &tokens);
    Server::with(project, "")
}

fn auth(token: &str) -> String {
    format!("{{\"command\":\"auth\",\"token\":\"{token}\",\"id\":7}}\n")
}

/// A client that has authenticated itself with this token.
fn authenticated(server: &Server, token: &str) -> Client {
    let mut client = server.connect();
    let answer = client.send(auth(token)).json();
    assert_eq!((&answer["status"], &answer["id"]), (&json!("ok"), &json!(7)), "{answer}");
    client
}

/// The reply to a request through the control socket.
fn control(server: &Server, request: &str) -> Value {
    serde_json::from_str(&ask_unix(&server.control_socket(), request.as_bytes())).unwrap()
}

fn limit(server: &Server, name: &str) -> Value {
    control(server, STATUS)["result"]["limits"][name].clone()
}

/// The code of the error that comes next, after which the server has to close.
#[track_caller]
fn rejection(client: &mut Client) -> String {
    let refusal = client.json();
    assert_eq!(client.rest(), "");
    refusal["code"].as_str().unwrap().to_owned()
}

#[test]
fn auth_without_a_line_end_is_answered() {
    let server = guarded("");
    for words in ["hello", "GE", NOOP.trim_end()] {
        let answer: Value = serde_json::from_str(&server.connect().send(words).end().rest()).unwrap();
        assert_eq!(answer["code"], "unauthorized", "{words}");
    }
    let answer: Value =
        serde_json::from_str(&server.connect().send(auth(SENDER).trim_end()).end().rest()).unwrap();
    assert_eq!(answer["status"], "ok");
    assert_eq!(server.connect().end().rest(), "", "an empty connection is no message");
    assert_eq!(server.connect().send([0, 0, 0, 9, b'{']).end().rest(), "", "half a frame is none either");
}

#[test]
fn token_scopes_limit_the_commands() {
    let server = guarded("");
    for (token, scopes, codes) in [
        (SENDER, json!(["send"]), [Value::Null, json!("forbidden"), json!("forbidden")]),
        (READER, json!(["inspect"]), [json!("forbidden"), Value::Null, json!("forbidden")]),
        (ADMIN, json!(["send", "admin"]), [Value::Null, Value::Null, Value::Null]),
    ] {
        let mut client = server.connect();
        assert_eq!(client.send(auth(token)).json()["result"]["scopes"], scopes);
        for (request, code) in [NOOP, STATUS, FLUSH].iter().zip(codes) {
            assert_eq!(client.send(request).json()["code"], code, "{token}: {request}");
        }
    }
}

#[test]
fn tasks_are_read_by_number_with_the_scope_inspect_only() {
    let server = guarded("");
    let mut sender = authenticated(&server, SENDER);
    let sent = "{\"function\":\"echo\",\"args\":\"private\",\"reply\":\"both\"}\n";
    assert_eq!(sender.send(sent).json()["status"], "queued");
    assert_eq!(sender.json()["result"], "private -> OK", "the sender has the result of its own");
    let mut websocket = WebSocketClient::connect(&server);
    websocket.send(&format!("auth {SENDER}"));
    websocket.text();
    for request in ["{\"command\":\"show\",\"task_id\":0}", "{\"command\":\"watch\",\"task_id\":0}"] {
        let refused = sender.send(format!("{request}\n")).line();
        assert!(refused.contains("forbidden") && !refused.contains("private"), "{refused}");
        websocket.send(request);
        assert_eq!(websocket.json()["code"], "forbidden");
        let shown = authenticated(&server, ADMIN).send(format!("{request}\n")).json();
        assert!(shown["code"].is_null(), "{shown}");
    }
    for path in ["/tasks/0", "/tasks/0/events", "/events", "/tasks"] {
        let head = format!("Host: {}\r\nAuthorization: Bearer {SENDER}\r\n\r\n", server.address);
        let line = server.connect().send(format!("GET {path} HTTP/1.1\r\n{head}")).line();
        assert!(line.contains(" 403 "), "{path}: {line}");
    }
}

#[test]
fn forbidden_request_names_the_missing_scope() {
    let server = guarded("");
    let refusal = authenticated(&server, READER).send(NOOP).json();
    assert!(refusal["error"].as_str().unwrap().contains("\"send\""), "{refusal}");
}

#[test]
fn unauthenticated_request_is_rejected_and_closed() {
    let server = guarded("");
    for first in [NOOP, STATUS, "hello\n", "?\n", "\n\r\nhello\n", "authenticate me\n"] {
        assert_eq!(rejection(server.connect().send(first)), "unauthorized", "{first}");
    }
    assert_eq!(rejection(server.connect().send("{\"command\":\"auth\"}\n")), "bad_request");
    assert_eq!(rejection(server.connect().send("x".repeat(10_000))), "too_long");
    assert_eq!(rejection(server.connect().send(auth("wrong-0123456789"))), "unauthorized");
    assert_eq!(limit(&server, "failed_auth"), 1);
    assert_eq!(limit(&server, "package_max_length"), 1);
    assert_eq!(control(&server, STATUS)["result"]["ledger"]["accepted"], 0);
}

#[test]
fn auth_and_requests_may_share_a_write() {
    let server = guarded("");
    let mut client = server.connect();
    client.send(format!("{}{NOOP}raw\n", auth(ADMIN)));
    assert_eq!(client.json()["status"], "ok");
    assert_eq!(client.json()["status"], "queued");
    assert!(client.line().contains("raw"));

    let mut client = server.connect();
    for byte in format!("auth {SENDER}\r\n{NOOP}").into_bytes() {
        client.send([byte]);
    }
    assert_eq!(client.json(), json!({"status": "ok", "result": {"scopes": ["send"]}}));
    assert_eq!(client.json()["status"], "queued");
}

#[test]
fn auth_works_in_frames() {
    let server = guarded("");
    let mut client = server.connect();
    client.send([frame(auth(SENDER).trim_end()), frame(NOOP.trim_end())].concat());
    for status in ["ok", "queued"] {
        let message = read_frame(client.stream()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&message).unwrap()["status"], status);
    }
    let mut client = server.connect();
    client.send(frame(NOOP.trim_end()));
    let refusal: Value = serde_json::from_slice(&read_frame(client.stream()).unwrap()).unwrap();
    assert_eq!(refusal["code"], "unauthorized");
}

#[test]
fn auth_with_another_token_replaces_the_scopes() {
    let server = guarded("");
    let mut client = authenticated(&server, SENDER);
    client.send(format!("{STATUS}{}{STATUS}", auth(READER)));
    assert_eq!(client.json()["code"], "forbidden");
    assert_eq!(client.json()["result"]["scopes"], json!(["inspect"]));
    assert_eq!(client.json()["status"], "ok");
    assert_eq!(client.send(auth("wrong-0123456789")).json()["code"], "unauthorized");
    assert_eq!(client.send(STATUS).json()["status"], "ok", "the scopes that it had stay");
}

#[test]
fn auth_without_configured_tokens_accepts_any() {
    let server = Server::start();
    let answer = server.connect().send(auth("whatever")).json();
    assert_eq!(answer["result"]["scopes"], json!(["send", "inspect", "work", "admin"]));
}

#[test]
fn silent_client_is_closed_after_auth_timeout() {
    let server = guarded("auth_timeout = \"50ms\"\n");
    assert_eq!(rejection(&mut server.connect()), "unauthorized");
    assert_eq!(rejection(server.connect().send("{\"command\":\"au")), "unauthorized");
    assert_eq!(limit(&server, "auth_timeout"), 2);
}

#[test]
fn tokens_file_is_reloaded_unless_it_is_invalid() {
    let mut server = guarded("");
    let mut old = authenticated(&server, SENDER);
    let new = "changed-0123456789";
    write_secret(&server.project, "tokens", &format!("{new} send\n{ADMIN} admin\n"));
    wait_until("the new token is valid", || server.connect().send(auth(new)).json()["status"] == "ok");
    server.line_with("tokens_file: the change is in force");
    assert_eq!(server.connect().send(auth(SENDER)).json()["code"], "unauthorized");
    assert!(old.rest().contains("unauthorized"), "an open connection ends");

    write_secret(&server.project, "tokens", "short send\n");
    for _ in 0..3 {
        server.connect().send(auth("wrong-0123456789")).json();
    }
    authenticated(&server, new);
    let said = server.line_with("tokens_file: the change is not taken over");
    assert!(said.contains("line 1: has 5 characters") && !said.contains("short"), "{said}");
}

#[test]
fn tokens_of_environment_and_file_are_merged() {
    let project = Project::new();
    project.write("config/server.toml", "tokens_file = \"tokens\"\n");
    write_secret(&project, "tokens", &format!("{READER} inspect\n"));
    let variables = [("THINK_SERVER_TOKENS", format!("{SENDER}:send+inspect, {ADMIN}:admin"))];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = Server::with_environment(project, "--host 0.0.0.0", &variables);
    for (token, scopes) in [(READER, "inspect"), (SENDER, "send"), (ADMIN, "admin")] {
        let port = server.address.rsplit_once(':').unwrap().1;
        let mut client = Client::connect(&format!("127.0.0.1:{port}"));
        assert_eq!(client.send(auth(token)).json()["result"]["scopes"][0], scopes);
    }
    let mut show = server.project.command();
    let shown = Ran::of(show.args(["config:show", "server"]).envs(variables)).exits(0).stdout;
    assert!(shown.contains("(hidden)") && !shown.contains(SENDER), "{shown}");
}

#[test]
fn tokens_file_that_others_can_read_is_rejected() {
    let project = Project::new();
    project.write("config/server.toml", "tokens_file = \"tokens\"\n");
    let started = || project.think("task:start --port 0").exits(1).stderr;
    assert!(started().contains("No such file"), "{}", started());
    write_secret(&project, "tokens", &format!("{SENDER} send\n"));
    fs::set_permissions(project.path("tokens"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(started().contains("run: chmod 600 "), "{}", started());
    for (line, says) in [
        (format!("{SENDER} sned"), "\"sned\" is no scope; did you mean \"send\"?"),
        (SENDER.to_owned(), "has no scope: add send, inspect, work or admin"),
        ("a,b;c-0123456789 send".to_owned(), "is not made of letters"),
    ] {
        write_secret(&project, "tokens", &format!("\n{line}\n"));
        let said = started();
        assert!(said.contains("line 2") && said.contains(says), "{line}: {said}");
    }
}

#[test]
fn listener_auth_setting_overrides_the_default() {
    let server = guarded(
        "[[listeners]]\nhost = \"unix:guarded.sock\"\nauth = \"token\"\n\
         [[listeners]]\nport = 0\nauth = \"none\"\n",
    );
    let addresses = control(&server, STATUS)["result"]["addresses"].clone();
    let asks: Vec<_> = addresses.as_array().unwrap().iter().map(|address| &address["auth"]).collect();
    assert_eq!(asks, ["token", "token", "none", "none"]);
    let mut stream = unix(&server.project.path("guarded.sock"));
    stream.write_all(NOOP.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("unauthorized"), "{answer}");
    let mut open = Client::connect(addresses[2]["address"].as_str().unwrap());
    assert_eq!(open.send(NOOP).json()["status"], "queued");
}

#[test]
fn project_commands_need_no_token() {
    let server = guarded("");
    let status = server.project.think("task:status --json").exits(0);
    let status: Value = status.json();
    assert_eq!(status["pid"], server.pid());
    // Through the port, they do.
    let ran = server.think(&["task:status"]).exits(5);
    assert!(ran.stderr.contains("Authentication required"), "{ran:?}");
}
