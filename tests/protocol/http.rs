//! HTTP as curl and plain sockets see it.

mod half_closed;
mod limits;
mod metrics;
mod openapi;
mod push_many;
mod sse;
mod tokens;

use serde_json::{Value, json};

use crate::harness::curl::{Response, curl};
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

fn with_settings(settings: &str) -> Server {
    Server::with_settings(&format!("app_log = false\n{settings}"))
}

fn quiet() -> Server {
    with_settings("")
}

/// Sends a request over a connection that stays open, and reads the one response to it.
fn ask(server: &Server, request: &str) -> Response {
    let mut client = server.connect();
    client.send(request);
    Response::from(&mut client)
}

#[test]
fn post_task_returns_its_location() {
    let server = quiet();
    let accepted = curl(&server, &["--json", "\"hello\"", "/tasks/echo"]).is(202);
    assert_eq!(accepted.json(), json!({ "task_id": 0, "status": "queued", "durability": "fsync" }));
    assert_eq!(accepted.header("location"), Some("/tasks/0"));
    assert_eq!(accepted.header("cache-control"), Some("no-store"));
    let story = curl(&server, &["/tasks/0"]).is(200).json();
    assert_eq!(
        (&story["task_id"], &story["function"], &story["args"]),
        (&json!(0), &json!("echo"), &json!("hello"))
    );
    curl(&server, &["-X", "POST", "/tasks/noop"]).is(202);
}

#[test]
fn post_task_wait_returns_the_result_or_a_problem() {
    let server = quiet();
    let done = curl(&server, &["--json", "\"hello\"", "/tasks/echo?wait=60s"]).is(200);
    assert_eq!(done.json(), json!({ "task_id": 0, "status": "done", "result": "hello -> OK" }));
    assert_eq!(done.header("content-location"), Some("/tasks/0"));
    let later = curl(&server, &["--json", "\"hello\"", "/tasks/echo?wait=0&delay=1h"]).is(202);
    assert_eq!(
        (later.json()["status"].as_str(), later.header("location")),
        (Some("queued"), Some("/tasks/1"))
    );
    // The mails would go into a folder that is a file.
    server.project.write("config/mail.toml", "folder = \"config/server.toml\"\n");
    let mail = "{\"to\":\"a@example.com\",\"content\":\"x\"}";
    let failed = curl(&server, &["--json", mail, "/tasks/send_mail?wait=60s&attempts=1"]).is(424);
    assert_eq!((&failed.json()["code"], &failed.json()["task_id"]), (&json!("failed"), &json!(2)));
    assert_eq!(failed.header("content-type"), Some("application/problem+json"));
    let too_long = curl(&server, &["--json", "1", "/tasks/echo?wait=6m"]).is(400).json();
    assert_eq!(too_long["detail"], "\"wait\" must be at most 5m (max_http_wait).");
}

#[test]
fn post_task_options_are_query_parameters() {
    let server = quiet();
    let options =
        "priority=9&attempts=3&timeout=30&backoff=5s&delay=1h%2030m&concurrency_key=a%20b&then=echo,noop";
    curl(&server, &["--json", "\"x\"", &format!("/tasks/echo?{options}&queue=mail&expires=2h")]).is(202);
    let story = curl(&server, &["/tasks/0"]).is(200).json();
    for (field, value) in [
        ("priority", json!(9)),
        ("max_attempts", json!(3)),
        ("timeout_ms", json!(30_000)),
        ("concurrency_key", json!("a b")),
        ("then", json!(["echo", "noop"])),
        ("queue", json!("mail")),
        ("state", json!("waiting")),
    ] {
        assert_eq!(story[field], value, "{field}: {story}");
    }
    let due = story["due_ms"].as_u64().unwrap() - story["accepted_ms"].as_u64().unwrap();
    assert_eq!(due, 90 * 60 * 1000);
    let at = curl(&server, &["--json", "\"x\"", "/tasks/echo?at=2100-01-01T00:00:00Z"]).is(202).json();
    let story = curl(&server, &[&format!("/tasks/{}", at["task_id"])]).json();
    assert_eq!(story["due_ms"], 4_102_444_800_000_u64);
}

#[test]
fn idempotency_key_names_one_task() {
    let server = quiet();
    for (key, task) in [("order-1", 0), ("\"order-1\"", 0), ("order-2", 1)] {
        let header = format!("Idempotency-Key: {key}");
        let accepted = curl(&server, &["-H", &header, "--json", "\"x\"", "/tasks/echo?wait=60s"]).is(200);
        assert_eq!(accepted.json()["task_id"], task, "{key}");
    }
    curl(&server, &["-H", "Idempotency-Key: a b", "--json", "\"x\"", "/tasks/echo"]).is(400);
    assert_eq!(server.status()["ledger"]["accepted"], 2);
}

#[test]
fn http_errors_are_problem_documents_with_suggestions() {
    let server = quiet();
    let problem = |status, arguments: &[&str]| {
        let response = curl(&server, arguments).is(status);
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        let problem = response.json();
        assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(status)));
        problem
    };
    let unknown = problem(404, &["--json", "\"x\"", "/tasks/ehco"]);
    assert_eq!((&unknown["code"], &unknown["suggestion"]), (&json!("unknown_function"), &json!("echo")));
    let mail = "{\"to\":\"a@example.com\",\"tittle\":\"x\",\"content\":\"y\"}";
    let arguments = problem(422, &["--json", mail, "/tasks/send_mail"]);
    assert_eq!((&arguments["code"], &arguments["suggestion"]), (&json!("bad_arguments"), &json!("title")));
    assert!(arguments["detail"].as_str().unwrap().contains("`tittle`"), "{arguments}");
    assert_eq!(problem(400, &["/tasks?limitt=1"])["suggestion"], "limit");
    assert_eq!(problem(400, &["/tasks?state=finished"])["code"], "bad_request");
    assert_eq!(problem(400, &["/tasks?queue=mial"])["suggestion"], "mail");
    assert_eq!(problem(400, &["--json", "{", "/tasks/echo"])["code"], "bad_request");
    assert_eq!(problem(400, &["--json", "1,\"queue\":\"mail\"", "/tasks/echo"])["code"], "bad_request");
    assert_eq!(problem(400, &["--json", "\"x\"", "/tasks/echo?priority=10"])["code"], "bad_request");
    assert_eq!(problem(400, &["/tasks?limit=1&limit=2"])["code"], "bad_request");
    assert_eq!(problem(400, &["/tasks?limit=%zz"])["code"], "bad_request");
    assert_eq!(problem(404, &["/tasks/7"])["code"], "unknown_task");
    assert_eq!(problem(404, &["/tasks/99999999999999999999"])["code"], "not_found");
    assert_eq!(problem(404, &["/nothing"])["code"], "not_found");
    assert_eq!(problem(404, &["/tasks/7/events"])["code"], "unknown_task");
    assert_eq!(problem(406, &["-H", "Accept: text/html", "/status"])["code"], "not_acceptable");
    assert_eq!(problem(415, &["-d", "\"x\"", "/tasks/echo"])["code"], "unsupported_media_type");
    assert_eq!(
        problem(415, &["-H", "Content-Type: application/json", "-d", "{}", "/tasks"])["code"],
        "unsupported_media_type"
    );
    assert_eq!(server.status()["ledger"]["accepted"], 0);
}

#[test]
fn method_not_allowed_names_the_allowed_ones() {
    let server = quiet();
    for (path, allowed) in [
        ("/tasks/7", "GET, DELETE, HEAD, OPTIONS"),
        ("/tasks/echo", "POST, OPTIONS"),
        ("/tasks", "POST, GET, HEAD, OPTIONS"),
        ("/status", "GET, HEAD, OPTIONS"),
    ] {
        let refused = curl(&server, &["-X", "PATCH", path]).is(405);
        assert_eq!(
            (refused.header("allow"), &refused.json()["code"]),
            (Some(allowed), &json!("method_not_allowed"))
        );
        assert_eq!(curl(&server, &["-X", "OPTIONS", path]).is(204).header("allow"), Some(allowed));
    }
}

#[test]
fn http_tasks_are_listed_cancelled_and_retried() {
    let server = quiet();
    for _ in 0..3 {
        curl(&server, &["--json", "\"x\"", "/tasks/echo?delay=1h"]).is(202);
    }
    let cancelled = curl(&server, &["-X", "DELETE", "/tasks/1"]).is(200).json();
    assert_eq!(cancelled, json!({ "cancelled": "at_once" }));
    curl(&server, &["-X", "DELETE", "/tasks/1"]).is(409);
    let ids = |query: &str| -> Vec<Value> {
        let tasks = curl(&server, &[query]).is(200).json();
        tasks.as_array().unwrap().iter().map(|task| task["task_id"].clone()).collect()
    };
    assert_eq!(ids("/tasks?state=cancelled"), [1]);
    assert_eq!(ids("/tasks?state=waiting&function=echo&queue=default"), [2, 0]);
    assert_eq!(ids("/tasks?before=2&limit=1"), [1]);
    assert_eq!(curl(&server, &["-X", "POST", "/tasks/1/retry"]).is(200).json(), json!({ "tasks": 1 }));
    curl(&server, &["-X", "POST", "/tasks/7/retry"]).is(404);
}

#[test]
fn http_health_status_and_index_are_served() {
    let server = quiet();
    assert_eq!(curl(&server, &["/healthz"]).is(200).json()["status"], "ok");
    assert_eq!(curl(&server, &["/readyz"]).is(200).json()["status"], "ready");
    assert_eq!(curl(&server, &["/status"]).is(200).json()["pid"], server.pid());
    assert!(curl(&server, &["/"]).is(200).json()["routes"]["POST /tasks/{function}"].is_string());
    let functions = curl(&server, &["/functions"]).is(200).json();
    let mail = functions.as_array().unwrap().iter().find(|function| function["name"] == "send_mail").unwrap();
    assert_eq!((&mail["queue"], &mail["schema"]["required"]), (&json!("mail"), &json!(["to", "content"])));
    for path in ["/queues", "/batches", "/schedules"] {
        assert!(curl(&server, &[path]).is(200).json().is_array(), "{path}");
    }
}

#[test]
fn head_is_get_without_the_body() {
    let server = quiet();
    let got = curl(&server, &["/healthz"]).is(200);
    let head = curl(&server, &["--head", "/healthz"]).is(200);
    assert_eq!((head.header("content-length"), &*head.body), (got.header("content-length"), ""));
    curl(&server, &["--head", "/events"]).is(200);
}

#[test]
fn keep_alive_serves_requests_in_order() {
    let server = quiet();
    let mut client = server.connect();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    client.send(get("/healthz"));
    Response::from(&mut client).is(200);
    client.send([get("/nothing"), get("/readyz")].concat());
    Response::from(&mut client).is(404);
    Response::from(&mut client).is(200);
    assert_eq!(server.status()["connections"]["total"], 2, "that of the status is the second");
}

#[test]
fn request_body_may_be_chunked_or_follow_100_continue() {
    let server = quiet();
    let chunked = ["-H", "Transfer-Encoding: chunked", "--json", "\"x\"", "/tasks/echo?wait=60s"];
    assert_eq!(curl(&server, &chunked).is(200).json()["result"], "x -> OK");
    let mut client = server.connect();
    let head = "Content-Type: application/json\r\nContent-Length: 3\r\nExpect: 100-continue\r\n";
    client.send(format!("POST /tasks/echo HTTP/1.1\r\nHost: {}\r\n{head}\r\n", server.address));
    assert_eq!((client.line(), client.line()), ("HTTP/1.1 100 Continue\r\n".into(), "\r\n".into()));
    for byte in ["\"", "x", "\""] {
        client.send(byte);
    }
    Response::from(&mut client).is(202);
}

#[test]
fn http_client_that_disconnects_while_waiting_is_released() {
    let server = quiet();
    let mut status = server.connect();
    for count in 1..=20 {
        let mut client = server.connect();
        let head = format!("Host: {}\r\nContent-Type: application/json\r\nContent-Length: 3", server.address);
        client.send(format!("POST /tasks/echo?wait=5m&delay=1h HTTP/1.1\r\n{head}\r\n\r\n\"x\""));
        wait_until("the task is accepted", || status.status()["ledger"]["accepted"] == count);
    }
    wait_until("the connections are closed", || status.status()["connections"]["current"] == 1);
    assert_eq!(status.status()["ledger"]["waiting"], 20, "the tasks stay");
}

#[test]
fn foreign_origin_is_rejected() {
    let server = quiet();
    let foreign = ["-H", "Origin: https://evil.example", "--json", "\"x\"", "/tasks/echo"];
    assert_eq!(curl(&server, &foreign).is(403).json()["code"], "forbidden");
    curl(&server, &["-H", "Host: evil.example", "/status"]).is(403);
    let own = curl(&server, &["-H", "Origin: http://localhost:3000", "/healthz"]).is(200);
    assert_eq!(own.header("access-control-allow-origin"), Some("http://localhost:3000"));
    assert_eq!(curl(&server, &["/healthz"]).header("access-control-allow-origin"), None);
}

#[test]
fn malformed_http_request_is_answered_with_a_problem() {
    let server = quiet();
    for request in [
        "GET /healthz HTTP/9.9\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\n\r\n",
        "POST /tasks/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        "POST /tasks/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let response = ask(&server, request).is(400);
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{request}");
        assert_eq!(response.json()["code"], "bad_request");
    }
    assert_eq!(curl(&server, &["/healthz"]).status, 200);
}
