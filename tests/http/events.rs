//! Server-sent events: of one task to its end, and of all tasks.

use serde_json::{Value, json};

use super::asked::{Response, curl};
use super::{quiet, with_settings};
use crate::harness::server::{Client, Server};

/// A client that is being sent events.
struct Listener {
    client: Client,
}

impl Listener {
    fn of(server: &Server, path: &str) -> Self {
        let mut client = server.connect();
        let head = format!("Host: {}\r\nAccept: text/event-stream", server.address);
        client.send(format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n"));
        let response = Response::from(&mut client).is(200);
        assert_eq!(response.header("content-type"), Some("text/event-stream"));
        Self { client }
    }

    /// The next line that has something to say.
    fn line(&mut self) -> String {
        loop {
            let line = self.client.line();
            let line = line.trim_end();
            // Between the lines stand the sizes of the chunks.
            if line == "0" || line.contains(':') {
                return line.to_owned();
            }
        }
    }

    /// The next event: its name and its data; comments are skipped.
    fn event(&mut self) -> (String, Value) {
        let mut name = None;
        loop {
            let line = self.line();
            match (line.strip_prefix("event: "), line.strip_prefix("data: ")) {
                (Some(found), _) => name = Some(found.to_owned()),
                (_, Some(data)) => return (name.unwrap(), serde_json::from_str(data).unwrap()),
                _ => assert!(line.starts_with(": ") || line.starts_with("id: "), "{line:?}"),
            }
        }
    }
}

#[test]
fn the_events_of_a_task_end_with_its_end() {
    let server = quiet();
    curl(&server, &["--json", "\"x\"", "/tasks/echo?delay=1h"]).is(202);
    let mut listener = Listener::of(&server, "/tasks/0/events");
    let watching = json!({ "task_id": 0, "status": "watching", "state": "waiting" });
    assert_eq!(listener.event(), ("watching".into(), watching));
    curl(&server, &["-X", "DELETE", "/tasks/0"]).is(200);
    let (name, data) = listener.event();
    assert_eq!((&*name, &data["status"]), ("cancelled", &json!("cancelled")));
    assert_eq!(listener.line(), "0", "nothing more comes");
}

#[test]
fn the_events_of_a_batch_end_with_its_end() {
    let server = quiet();
    let mut client = server.connect();
    client.send("{\"command\":\"open_batch\",\"name\":\"b\",\"function\":\"echo\"}\n").json();
    let mut listener = Listener::of(&server, "/batches/1/events");
    let (name, data) = listener.event();
    assert_eq!((&*name, &data["batch"]["state"]), ("watching", &json!("open")));
    client.send("{\"command\":\"seal_batch\",\"batch\":1}\n").json();
    let (name, data) = listener.event();
    assert_eq!((&*name, &data["batch"]["state"]), ("ended", &json!("ended")));
    assert_eq!(listener.line(), "0", "nothing more comes");
    let again = curl(&server, &["-H", "Last-Event-ID: end", "/batches/1/events"]);
    assert_eq!(again.is(204).body, "", "a browser need not ask again");
    curl(&server, &["/batches/2/events"]).is(404);
}

#[test]
fn a_browser_that_comes_back_after_the_end_is_told_to_stay_away() {
    let server = quiet();
    curl(&server, &["--json", "\"x\"", "/tasks/echo?wait=60s"]).is(200);
    let all = curl(&server, &["/tasks/0/events"]).is(200).body;
    assert!(all.contains("event: done\nid: end\ndata: {\"task_id\":0,"), "{all}");
    assert_eq!(curl(&server, &["-H", "Last-Event-ID: end", "/tasks/0/events"]).is(204).body, "");
}

#[test]
fn whoever_follows_all_tasks_hears_of_every_end() {
    let server = quiet();
    let mut listeners = [Listener::of(&server, "/events"), Listener::of(&server, "/events")];
    assert_eq!(listeners.each_mut().map(Listener::line), [": here", ": here"]);
    for text in ["a", "b"] {
        curl(&server, &["--json", &format!("\"{text}\""), "/tasks/echo?wait=60s"]).is(200);
    }
    for mut listener in listeners {
        for (task, result) in [(0, "a -> OK"), (1, "b -> OK")] {
            let (name, data) = listener.event();
            assert_eq!((&*name, &data["task_id"], &data["result"]), ("done", &json!(task), &json!(result)));
        }
    }
}

#[test]
fn a_silent_stream_shows_that_it_is_alive() {
    let server = with_settings("http_sse_keepalive = \"1ms\"\n");
    let mut listener = Listener::of(&server, "/events");
    for _ in 0..10 {
        assert_eq!(listener.line(), ": here");
    }
}

#[test]
fn whoever_stops_listening_leaves_nothing_behind() {
    let server = quiet();
    let mut status = server.connect();
    let mut look = || status.send("{\"command\":\"status\"}\n").json()["result"].clone();
    curl(&server, &["--json", "\"x\"", "/tasks/echo?delay=1h"]).is(202);
    for path in ["/events", "/tasks/0/events"] {
        let mut listener = Listener::of(&server, path);
        listener.line();
    }
    while look()["connections"]["current"] != 1 {}
}

#[test]
fn a_stop_ends_every_stream_with_the_reason() {
    let mut server = quiet();
    curl(&server, &["--json", "\"x\"", "/tasks/echo?delay=1h"]).is(202);
    let mut all = Listener::of(&server, "/events");
    assert_eq!(all.line(), ": here");
    let mut one = Listener::of(&server, "/tasks/0/events");
    one.event();
    server.signal(rustix::process::Signal::INT);
    for listener in [&mut all, &mut one] {
        let (name, data) = listener.event();
        assert_eq!((&*name, &data["code"]), ("error", &json!("shutting_down")));
        assert_eq!(listener.line(), "0");
    }
    assert_eq!(server.exit_code(), Some(0));
}
