//! Server-sent events: of one task to its end, and of all tasks.

use serde_json::{Value, json};

use super::{quiet, with_settings};
use crate::harness::client::Client;
use crate::harness::curl::{Response, curl};
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::metrics::descriptors;
use crate::harness::server::Server;

/// A client of an event stream.
struct EventClient {
    client: Client,
}

impl EventClient {
    fn of(server: &Server, path: &str) -> Self {
        let mut client = server.connect();
        let head = format!("Host: {}\r\nAccept: text/event-stream", server.address);
        client.send(format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n"));
        let response = Response::from(&mut client).is(200);
        assert_eq!(response.header("content-type"), Some("text/event-stream"));
        assert_eq!(response.header("x-accel-buffering"), Some("no"));
        Self { client }
    }

    /// The next line of the stream, or `0` at its end; the sizes of the chunks are skipped.
    #[track_caller]
    fn line(&mut self) -> String {
        let is_it = |line: &str| line.trim_end() == "0" || line.contains(':');
        self.client.find_line("a line of the stream", is_it).trim_end().to_owned()
    }

    /// The next event: its name and its data; comments are skipped.
    fn event(&mut self) -> (String, Value) {
        let mut name = None;
        eventually("an event", || {
            let line = self.line();
            match (line.strip_prefix("event: "), line.strip_prefix("data: ")) {
                (Some(found), _) => name = Some(found.to_owned()),
                (_, Some(data)) => return Some((name.take().unwrap(), serde_json::from_str(data).unwrap())),
                _ => assert!(line.starts_with(": ") || line.starts_with("id: "), "{line:?}"),
            }
            None
        })
    }
}

#[test]
fn task_events_end_with_the_task() {
    let server = quiet();
    curl(&server, &["--json", "\"x\"", "/tasks/echo?delay=1h"]).is(202);
    let mut listener = EventClient::of(&server, "/tasks/0/events");
    let watching = json!({ "task_id": 0, "status": "watching", "state": "waiting" });
    assert_eq!(listener.event(), ("watching".into(), watching));
    curl(&server, &["-X", "DELETE", "/tasks/0"]).is(200);
    let (name, data) = listener.event();
    assert_eq!((&*name, &data["status"]), ("cancelled", &json!("cancelled")));
    assert_eq!(listener.line(), "0", "nothing more comes");
}

#[test]
fn batch_events_end_with_the_batch() {
    let server = quiet();
    let mut client = server.connect();
    client.send("{\"command\":\"open_batch\",\"name\":\"b\",\"function\":\"echo\"}\n").json();
    let mut listener = EventClient::of(&server, "/batches/1/events");
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
fn event_stream_after_its_end_is_204() {
    let server = quiet();
    curl(&server, &["--json", "\"x\"", "/tasks/echo?wait=60s"]).is(200);
    let all = curl(&server, &["/tasks/0/events"]).is(200).body;
    assert!(all.contains("event: done\nid: end\ndata: {\"task_id\":0,"), "{all}");
    assert_eq!(curl(&server, &["-H", "Last-Event-ID: end", "/tasks/0/events"]).is(204).body, "");
}

#[test]
fn firehose_reports_every_end() {
    let server = quiet();
    let mut listeners = [EventClient::of(&server, "/events"), EventClient::of(&server, "/events")];
    assert_eq!(listeners.each_mut().map(EventClient::line), [": here", ": here"]);
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
fn event_stream_sends_keep_alive_comments() {
    let server = with_settings("http_sse_keepalive = \"1ms\"\n");
    let mut listener = EventClient::of(&server, "/events");
    for _ in 0..10 {
        assert_eq!(listener.line(), ": here");
    }
}

#[test]
fn event_stream_is_released_when_the_client_disconnects() {
    let server = quiet();
    let mut status = server.connect();
    assert_eq!(status.status()["connections"]["current"], 1);
    let before = descriptors(server.pid());
    curl(&server, &["--json", "\"x\"", "/tasks/echo?delay=1h"]).is(202);
    for path in ["/events", "/tasks/0/events"] {
        let mut listeners: Vec<_> = (0..20).map(|_| EventClient::of(&server, path)).collect();
        for listener in &mut listeners {
            listener.line();
        }
        assert_eq!(status.status()["connections"]["current"], 21);
        assert!(descriptors(server.pid()) >= before + 20);
        drop(listeners);
        wait_until("the connections are closed", || status.status()["connections"]["current"] == 1);
        wait_until("their descriptors are closed", || descriptors(server.pid()) <= before);
    }
    // The streams have gone, and the task has not.
    assert_eq!(status.status()["ledger"]["waiting"], 1);
}

#[test]
fn stop_ends_event_streams_with_an_error() {
    let mut server = quiet();
    curl(&server, &["--json", "\"x\"", "/tasks/echo?delay=1h"]).is(202);
    let mut all = EventClient::of(&server, "/events");
    assert_eq!(all.line(), ": here");
    let mut one = EventClient::of(&server, "/tasks/0/events");
    one.event();
    server.signal(rustix::process::Signal::INT);
    for listener in [&mut all, &mut one] {
        let (name, data) = listener.event();
        assert_eq!((&*name, &data["code"]), ("error", &json!("shutting_down")));
        assert_eq!(listener.line(), "0");
    }
    assert_eq!(server.exit_code(), Some(0));
}
