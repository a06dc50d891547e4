//! HTTP as curl and plain sockets see it.

mod asked;

use crate::harness::Project;
use crate::harness::server::Server;
use asked::{curl, status_of};

fn quiet() -> Server {
    let project = Project::new();
    project.write("config/server.toml", "moments = false\n");
    Server::with(project, "")
}

#[test]
fn a_task_is_accepted_with_its_place_and_found_there() {
    let server = quiet();
    let accepted = curl(&server, &["--json", "\"hello\"", "/tasks/echo"]).is(202);
    assert_eq!(accepted.json()["task_id"], 0);
    assert_eq!(accepted.json()["status"], "queued");
    assert_eq!(accepted.json()["durability"], "fsync");
    assert_eq!(accepted.header("location"), Some("/tasks/0"));
    let story = curl(&server, &["/tasks/0"]).is(200).json();
    assert_eq!(
        (&story["id"], &story["function"], &story["args"]),
        (&0.into(), &"echo".into(), &"hello".into())
    );
}

#[test]
fn who_waits_gets_the_result_or_the_reason() {
    let server = quiet();
    let done = curl(&server, &["--json", "\"hello\"", "/tasks/echo?wait=60s"]).is(200).json();
    assert_eq!((&done["status"], &done["result"]), (&"done".into(), &"hello -> OK".into()));
}

#[test]
fn health_readiness_and_status_answer() {
    let server = quiet();
    assert_eq!(curl(&server, &["/healthz"]).is(200).json()["status"], "ok");
    assert_eq!(curl(&server, &["/readyz"]).is(200).json()["status"], "ready");
    assert_eq!(curl(&server, &["/status"]).is(200).json()["pid"], server.pid());
    assert_eq!(status_of(&server, &["/nothing"]), 404);
}
