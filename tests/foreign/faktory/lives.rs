//! Workers whose connections end, and the death and the stop of the server.

use rustix::process::Signal;

use super::{Faktory, server};
use crate::harness::eventually::wait_until;

#[test]
fn jobs_of_a_worker_go_back_when_its_last_connection_ends() {
    let server = server();
    let (first, mut second) = (Faktory::connect(&server, "worker-1"), Faktory::connect(&server, "worker-1"));
    let mut other = Faktory::connect(&server, "worker-2");
    second.push("job-00000001", "");
    let mut first = first;
    assert_eq!(first.json("FETCH default")["jid"], "job-00000001");
    drop(first);
    assert_eq!(other.ask("FETCH default"), "$-1", "its other connection is there");
    assert_eq!(second.end("ACK", "job-00000001"), "+OK", "by another connection than that which fetched it");
    second.push("job-00000002", "");
    assert_eq!(second.json("FETCH default")["jid"], "job-00000002");
    drop(second);
    assert_eq!(other.json("FETCH default")["jid"], "job-00000002");
    assert_eq!(other.end("ACK", "job-00000002"), "+OK");
    wait_until("both are done", || server.ledger()["done"] == 2);
}

#[test]
fn pushed_jobs_survive_the_death_of_the_server() {
    let mut server = server();
    let mut client = Faktory::connect(&server, "worker-1");
    (0..20).for_each(|number| client.push(&format!("job-{number:08}"), ""));
    client.json("FETCH default");
    server.signal(Signal::KILL);
    server.exit_code();
    let server = server.again("");
    let mut client = Faktory::connect(&server, "worker-1");
    for _ in 0..20 {
        let job = client.json("FETCH default");
        assert_eq!(client.end("ACK", job["jid"].as_str().unwrap()), "+OK");
    }
    assert_eq!(server.ledger()["done"], 20);
}

#[test]
fn stop_terminates_workers_once_their_jobs_are_acknowledged() {
    let mut server = server();
    let (mut holder, mut idle) =
        (Faktory::connect(&server, "worker-1"), Faktory::connect(&server, "worker-2"));
    holder.push("job-00000001", "");
    holder.json("FETCH default");
    server.signal(Signal::TERM);
    assert_eq!(idle.0.rest(), "", "who holds nothing is closed");
    wait_until("it is told to terminate", || {
        let answer = holder.ask("BEAT {\"wid\":\"worker-1\"}");
        answer.starts_with('$') && holder.line() == "{\"state\":\"terminate\"}"
    });
    assert_eq!(holder.ask("FETCH default"), "$-1");
    assert_eq!(holder.end("ACK", "job-00000001"), "+OK");
    assert_eq!(holder.0.rest(), "");
    assert_eq!(server.exit_code(), Some(0));
}
