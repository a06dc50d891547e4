//! The pages for people, in a real browser.

mod access;
mod actions;
mod hostile;
mod live;
mod screens;

use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::browser::Tab;
use crate::harness::chromium::Chromium;
use crate::harness::client::Client;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

/// Each page that has no number in its address.
const PAGES: [&str; 10] = [
    "",
    "queues",
    "tasks",
    "failures",
    "batches",
    "schedules",
    "workers",
    "functions",
    "functions/echo",
    "server",
];

const SCHEDULE: &str =
    "[nightly]\ncron = \"0 4 * * *\"\ntimezone = \"Asia/Shanghai\"\nfunction = \"echo\"\nargs = \"report\"\n";

fn with_settings(settings: &str) -> Server {
    let project = Project::with_settings(&format!("app_log = false\n{settings}"));
    project.write("config/schedule.toml", SCHEDULE);
    // Mails go into a folder that is a file.
    project.write("config/mail.toml", "folder = \"config/server.toml\"\n");
    Server::with(project, "")
}

fn url(server: &Server, page: &str) -> String {
    format!("http://{}/ui/{page}", server.address)
}

/// Sends a task over a connection of its own, and returns its number.
fn send(server: &Server, task: &Value) -> u64 {
    let reply = server.connect().send(format!("{task}\n")).json();
    reply["task_id"].as_u64().unwrap_or_else(|| panic!("{reply}"))
}

/// Tasks in every state but running: 3 done, 2 failed, 2 waiting, 1 cancelled and a batch of 2.
fn fill(server: &Server) {
    for text in ["a", "b", "c"] {
        send(server, &json!({ "function": "echo", "args": text }));
    }
    for number in 1..=2 {
        let mail = json!({ "to": format!("user{number}@example.com"), "content": "x" });
        send(server, &json!({ "function": "send_mail", "args": mail, "attempts": 2, "backoff": "1ms" }));
    }
    for _ in 0..2 {
        send(server, &json!({ "function": "echo", "args": "later", "delay": "1h" }));
    }
    let cancelled = send(server, &json!({ "function": "echo", "args": "never", "delay": "1h" }));
    server.think(&["task:cancel", &cancelled.to_string()]).exits(0);
    server.project.write("batch.ndjson", "\"x\"\n\"y\"\n");
    let file = server.project.path("batch.ndjson");
    server.think(&["task:batch", "echo", file.to_str().unwrap()]).exits(0);
    wait_for(server, &json!({ "done": 5, "failed": 2, "waiting": 2, "cancelled": 1 }));
}

/// Waits until the ledger has these counts.
fn wait_for(server: &Server, counts: &Value) {
    let has =
        |ledger: &Value| counts.as_object().unwrap().iter().all(|(state, count)| ledger[state] == *count);
    wait_until(&counts.to_string(), || has(&server.ledger()));
}

/// A server with a tab that shows its first page.
fn opened(settings: &str) -> (Server, Chromium, Tab) {
    let server = with_settings(settings);
    let chromium = Chromium::start(&[]);
    let mut tab = Tab::open(&chromium);
    tab.go(&url(&server, ""));
    (server, chromium, tab)
}

/// Stops a server, and starts it again on the same port.
fn restart(server: Server) -> Server {
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    server.project.think("task:stop").exits(0);
    let project = server.into_project();
    let mut command = project.command();
    command.args(["task:start", "--port", &port]);
    Server::of(project, &mut command)
}

/// The status, the head and the body of the response to a request with these headers.
fn ask(server: &Server, request: &str, headers: &[&str], body: &str) -> (u16, String, String) {
    let mut client = Client::connect(&server.address);
    let host =
        if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { "Host: localhost\r\n" };
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let form =
        format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len());
    client.send(format!("{request} HTTP/1.1\r\n{host}Connection: close\r\n{form}{headers}\r\n{body}"));
    let response = client.rest();
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{response:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}
