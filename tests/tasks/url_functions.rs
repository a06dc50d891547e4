//! The functions of config/functions.toml that are URLs: each attempt is a request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::certificates::Authority;
use crate::harness::client::bounded_tcp;
use crate::harness::eventually::{PATIENCE, wait_until};
use crate::harness::server::Server;

/// A request that has come.
struct Received {
    head: String,
    body: String,
}

impl Received {
    #[track_caller]
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head)).1
    }
}

/// A web server that answers each request with what stands here for its path.
struct Web {
    port: u16,
    received: Receiver<Received>,
}

impl Web {
    fn start(answers: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers: Vec<_> =
            answers.iter().map(|(path, answer)| (format!("POST /{path} "), (*answer).to_owned())).collect();
        let (sender, received) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(&bounded_tcp(stream.unwrap()), &answers, &sender);
            }
        });
        Self { port, received }
    }

    /// The settings of functions whose URLs are the paths of this server.
    fn functions(&self, names: &[&str], keys: &str) -> String {
        let table = |name: &&str| {
            format!(
                "[functions.{name}]\nurl = \"http://127.0.0.1:{}/{name}\"\nallow_private = true\n{keys}\n",
                self.port
            )
        };
        names.iter().map(table).collect()
    }

    #[track_caller]
    fn next(&self) -> Received {
        self.received.recv_timeout(PATIENCE).expect("a request comes")
    }
}

fn answer(stream: &TcpStream, answers: &[(String, String)], received: &Sender<Received>) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    while reader.read_until(b'\n', &mut head).is_ok_and(|count| count > 2) {}
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let answer = answers
        .iter()
        .find(|(path, _)| head.starts_with(path))
        .map_or("HTTP/1.1 404 No\r\n", |(_, answer)| answer);
    // Whoever gave up waits for nothing.
    let _ = reader.get_mut().write_all(answer.as_bytes());
    let _ = received.send(Received { head, body: String::from_utf8(body).unwrap() });
}

/// An answer with a body.
fn with_body(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn server_with(functions: &str) -> Server {
    let project = Project::with_settings("min_retry_pause = \"1ms\"\npackage_max_length = \"64KB\"\n");
    project.write("config/functions.toml", functions);
    Server::with(project, "")
}

/// The end of a task.
#[track_caller]
fn end_of(server: &Server, mut task: Value) -> Value {
    task["reply"] = "result".into();
    server.connect().send(format!("{task}\n")).json()
}

#[track_caller]
fn error_of(server: &Server, task: Value) -> String {
    let end = end_of(server, task);
    assert_eq!(end["status"], "failed", "{end}");
    end["error"].as_str().unwrap().to_owned()
}

#[test]
fn request_has_arguments_and_headers_and_its_body_is_the_result() {
    let web = Web::start(&[
        ("json", &with_body("200 OK", "{\"width\": 42}")),
        ("text", &with_body("201 Created", "made\n")),
        ("none", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("end", "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nup to the end"),
    ]);
    let secret = "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\ntimeout = \"1h\"";
    let server = server_with(&web.functions(&["json", "text", "none", "end"], secret));
    let end = end_of(&server, json!({"function": "json", "args": {"width": 21}}));
    assert_eq!(end["result"], json!({"width": 42}));
    let request = web.next();
    assert!(request.head.starts_with("POST /json HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.body, "{\"width\":21}");
    let task = end["task_id"].to_string();
    assert_eq!(request.header("webhook-id"), format!("{task}-1"));
    assert_eq!((request.header("think-task-id"), request.header("think-attempt")), (task.as_str(), "1"));
    assert_eq!(
        (request.header("content-type"), request.header("host")),
        ("application/json", &*format!("127.0.0.1:{}", web.port))
    );
    let sent: u64 = request.header("webhook-timestamp").parse().unwrap();
    assert_eq!(request.header("think-deadline"), (sent + 3_600).to_string());
    let signature = request.header("webhook-signature").strip_prefix("v1,").unwrap();
    assert!(signature.len() == 44 && signature.ends_with('='), "{signature}");
    assert_eq!(end_of(&server, json!({"function": "text"}))["result"], "made");
    assert_eq!(end_of(&server, json!({"function": "none"}))["result"], Value::Null);
    assert_eq!(end_of(&server, json!({"function": "end"}))["result"], "up to the end");
}

#[test]
fn status_says_whether_an_attempt_is_retried() {
    let moved = "HTTP/1.1 301 Moved\r\nlocation: /json\r\ncontent-length: 0\r\n\r\n";
    let busy = "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n";
    let web = Web::start(&[
        ("broken", &with_body("500 Broken", "<b>no\nluck</b>")),
        ("busy", busy),
        ("many", &busy.replace("503", "429")),
        ("wrong", &with_body("422 Wrong", "no width")),
        ("moved", moved),
        ("silent", ""),
        ("long", &with_body("200 OK", &"x".repeat(100_000))),
    ]);
    let names = ["broken", "busy", "many", "wrong", "moved", "silent", "long"];
    let server = server_with(&web.functions(&names, "attempts = 2\nbackoff = \"1ms\""));
    for (function, attempts, says) in [
        ("broken", 2, "127.0.0.1 answers 500 Internal Server Error: <b>no luck</b>"),
        ("busy", 2, "answers 503"),
        ("many", 2, "answers 429"),
        ("wrong", 1, "answers 422 Unprocessable Entity: no width"),
        ("moved", 1, "a redirect, which is not followed"),
        ("silent", 2, "The connection broke"),
        ("long", 1, "longer than 65536 bytes (package_max_length)"),
    ] {
        let error = error_of(&server, json!({"function": function}));
        assert!(error.contains(says), "{function}: {error}");
        for attempt in 1..=attempts {
            let request = web.next();
            assert!(request.head.starts_with(&format!("POST /{function} ")), "{}", request.head);
            assert_eq!(request.header("think-attempt"), attempt.to_string());
        }
    }
}

#[test]
fn retry_after_is_the_time_of_the_next_attempt() {
    let web =
        Web::start(&[("later", "HTTP/1.1 429 Later\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n")]);
    let server = server_with(&web.functions(&["later"], "attempts = 2\nbackoff = \"1ms\""));
    server.connect().send("{\"function\":\"later\"}\n").json();
    web.next();
    wait_until("it waits", || server.status()["queues"]["default"]["delayed"] == 1);
    let shown = server.think(&["task:show", "0"]).exits(0).stdout;
    assert!(shown.contains("answers 429"), "{shown}");
}

#[test]
fn address_of_this_machine_is_refused_unless_it_is_allowed() {
    let web = Web::start(&[("inner", &with_body("200 OK", "1"))]);
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"] {
        let url = format!("[functions.inner]\nurl = \"https://{host}:{}/inner\"\nattempts = 3\n", web.port);
        let server = server_with(&url);
        let error = error_of(&server, json!({"function": "inner"}));
        let is_refused = error.contains("`allow_private = true`") || error.contains("There is no host");
        assert!(is_refused, "{host}: {error}");
    }
    assert!(web.received.try_recv().is_err());
}

#[test]
fn server_that_does_not_answer_costs_an_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = server_with(&format!(
        "[hangs]\nurl = \"http://127.0.0.1:{port}/\"\nallow_private = true\ntimeout = \"300ms\"\nattempts = 2\nbackoff = \"1ms\"\n"
    ));
    assert!(error_of(&server, json!({"function": "hangs"})).contains("timeout of 300ms"));
    drop(listener);
    let error = error_of(&server, json!({"function": "hangs"}));
    assert!(error.contains("cannot be reached"), "{error}");
}

#[test]
fn certificate_of_the_server_is_verified() {
    let authority = Authority::new();
    let other = Project::with_settings(
        "ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\nssl_required = true\n",
    );
    authority.issue("localhost").write(&other, "server");
    let other = Server::with(other, "");
    let (_, port) = other.address.rsplit_once(':').unwrap();
    let table = |name: &str, host: &str, keys: &str| {
        format!(
            "[functions.{name}]\nurl = \"https://{host}:{port}/tasks/echo?wait=5s\"\nallow_private = true\n{keys}\n"
        )
    };
    let project = Project::new();
    project.write("ca.pem", &authority.pem());
    let functions = [
        table("trusted", "localhost", "ca_file = \"ca.pem\""),
        table("unknown", "localhost", ""),
        table("misnamed", "127.0.0.1", "ca_file = \"ca.pem\""),
    ];
    project.write("config/functions.toml", &functions.concat());
    let server = Server::with(project, "");
    let end = end_of(&server, json!({"function": "trusted", "args": "hi"}));
    assert_eq!(end["result"]["result"], "hi -> OK", "{end}");
    for function in ["unknown", "misnamed"] {
        let error = error_of(&server, json!({"function": function, "args": "hi"}));
        assert!(error.contains("invalid peer certificate"), "{error}");
    }
}
