//! Jobs from their push to their end, and what the console shows of them.

use serde_json::json;

use super::{Faktory, address, server, server_with};

#[test]
fn job_is_pushed_fetched_and_acknowledged_and_the_console_shows_it_as_done() {
    let server = server();
    let mut client = Faktory::connect(&server, "worker-1");
    client.push("job-00000001", ",\"queue\":\"mails\",\"priority\":9,\"custom\":{\"a\":1}");
    let job = client.json("FETCH other mails");
    assert_eq!((&job["jid"], &job["args"]), (&json!("job-00000001"), &json!([1, "a"])), "{job}");
    assert_eq!((&job["retry"], &job["custom"]["a"]), (&json!(25), &json!(1)));
    assert_eq!(client.end("ACK", "job-00000001"), "+OK");
    let task = server.think(&["task:show", "1", "--json"]).exits(0).json();
    assert_eq!(
        (&task["state"], &task["queue"], &task["priority"]),
        (&json!("done"), &json!("mails"), &json!(9))
    );
    assert_eq!(task["history"][0]["worker"], "faktory worker-1");
    assert_eq!(client.json("FETCH mails"), serde_json::Value::Null, "after two seconds there is none");
    assert_eq!(client.end("ACK", "job-00000001"), "+OK", "as Faktory answers for a job that nobody has");
}

#[test]
fn failed_job_waits_for_its_retry_is_forgotten_or_has_failed_by_its_retry() {
    let server = server();
    let mut client = Faktory::connect(&server, "worker-1");
    for (jid, retry) in
        [("job-retried-1", ""), ("job-forgotten", ",\"retry\":0"), ("job-dead-0001", ",\"retry\":-1")]
    {
        client.push(jid, retry);
        assert_eq!(client.json("FETCH default")["jid"], jid);
        assert_eq!(client.end("FAIL", jid), "+OK");
        assert_eq!(client.end("FAIL", jid), "-ERR Job not found");
    }
    let retried = server.think(&["task:show", "1", "--json"]).exits(0).json();
    assert_eq!((&retried["state"], &retried["max_attempts"]), (&json!("waiting"), &json!(26)));
    assert!(retried["due_ms"].as_u64() > retried["accepted_ms"].as_u64().map(|at| at + 14_000), "{retried}");
    assert_eq!(retried["history"][0]["error"], "Error: no\nline 1");
    server.think(&["task:show", "2"]).exits(5);
    assert_eq!(server.think(&["task:show", "3", "--json"]).exits(0).json()["state"], "failed");
    let info = client.json("INFO");
    assert_eq!(info["faktory"]["tasks"]["Dead"]["size"], 1, "{info}");
    assert_eq!(
        (&info["faktory"]["total_failures"], &info["faktory"]["tasks"]["Scheduled"]["size"]),
        (&json!(3), &json!(1))
    );
}

#[test]
fn many_jobs_are_pushed_at_once_and_the_answer_names_those_refused() {
    let server = server_with("max_foreign_queues = 2");
    let mut client = Faktory::connect(&server, "");
    let job = |jid: &str, queue: &str| json!({"jid": jid, "jobtype": "a", "args": [], "queue": queue});
    let jobs = json!([
        job("job-00000001", "one"),
        job("short", "one"),
        job("job-00000002", "two"),
        job("job-00000003", "three")
    ]);
    let refused = client.json(&format!("PUSHB {jobs}"));
    let names: Vec<_> = refused.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["job-00000003", "short"]);
    assert_eq!(server.ledger()["accepted"], 2);
    // A name that no job had uses up nothing.
    assert_eq!(client.ask("FETCH four"), "$-1");
    assert_eq!(client.json("FETCH five six two")["jid"], "job-00000002");
}

#[test]
fn queues_are_paused_measured_and_emptied_and_flush_spares_other_tasks() {
    let server = server();
    let mut client = Faktory::connect(&server, "worker-1");
    client.push("job-00000001", ",\"queue\":\"mails\"");
    assert_eq!(client.ask("QUEUE PAUSE mails"), "+OK");
    assert_eq!(client.ask("FETCH mails"), "$-1");
    assert!(client.json("QUEUE LATENCY mails")["mails"].as_f64() > Some(0.0));
    assert_eq!(client.ask("QUEUE RESUME *"), "+OK");
    assert_eq!(client.json("FETCH mails")["jid"], "job-00000001");
    client.push("job-00000002", ",\"queue\":\"mails\"");
    assert_eq!(client.ask("QUEUE REMOVE mails"), "+OK");
    assert_eq!(client.json("INFO")["faktory"]["queues"].get("mails"), Some(&json!(0)));
    client.push("job-00000003", ",\"at\":\"2100-01-01T00:00:00Z\"");
    server.think(&["task:send", "noop", "--delay", "1h", "--no-wait"]).exits(0);
    assert_eq!(client.ask("FLUSH"), "+OK");
    let ledger = server.ledger();
    assert_eq!(
        (&ledger["cancelled"], &ledger["waiting"], &ledger["running"]),
        (&json!(2), &json!(1), &json!(1))
    );
}

#[test]
fn wrong_commands_are_errors_and_leave_the_connection_usable() {
    let server = server_with("package_max_length = \"300\"");
    let mut client = Faktory::connect(&server, "worker-1");
    for (command, error) in [
        ("NOPE", "-ERR Unknown command NOPE"),
        ("TRACK GET 1", "-ERR Unknown command TRACK"),
        ("PUSH {}", "-ERR Invalid JSON"),
        ("QUEUE DROP a", "-ERR QUEUE knows"),
        ("ACK {}", "-ERR Invalid JSON"),
    ] {
        let answer = client.ask(command);
        assert!(answer.starts_with(error), "{answer}");
    }
    assert_eq!(client.ask("BEAT {\"wid\":\"worker-1\"}"), "+OK");
    let answer = client.ask(&"x".repeat(400));
    assert!(answer.contains("package_max_length"), "{answer}");
    assert_eq!(client.0.rest(), "");
    let mut wrong = crate::harness::client::Client::connect(&address(&server, "faktory"));
    wrong.line();
    assert_eq!(
        wrong.send("HELLO {\"v\":1}\r\n").line(),
        "-ERR Only version 2 of the protocol is known: say \"v\":2\r\n"
    );
}

#[test]
fn jobs_of_one_protocol_are_worked_by_the_other() {
    let server = server();
    let mut worker = Faktory::connect(&server, "worker-1");
    let mut beanstalk = crate::harness::client::Client::connect(&address(&server, "beanstalkd"));
    beanstalk.send("put 1 0 60 7\r\n{\"a\":1}\r\n");
    assert_eq!(beanstalk.line(), "INSERTED 1\r\n");
    let job = worker.json("FETCH default");
    assert_eq!((&job["jobtype"], &job["args"][0]["json"]["a"]), (&json!("beanstalkd"), &json!(1)), "{job}");
    assert_eq!(worker.end("ACK", job["jid"].as_str().unwrap()), "+OK");
    worker.push("job-00000001", "");
    beanstalk.send("reserve\r\n");
    assert!(beanstalk.line().starts_with("RESERVED 2 "));
    assert!(beanstalk.line().contains("job-00000001"));
    assert_eq!(beanstalk.send("delete 2\r\n").line(), "DELETED\r\n");
    assert_eq!(server.ledger()["done"], 2);
}
