//! Jobs from their `put` to their end, and what the console shows of them.

use super::{Beanstalk, server, server_with};
use crate::harness::eventually::wait_until;

#[test]
fn job_is_put_reserved_and_deleted_and_the_console_shows_it_as_done() {
    let server = server();
    let mut client = Beanstalk::connect(&server);
    assert_eq!(client.ask("use mails"), "USING mails");
    let id = client.put("10 0 60", r#"{"to":"you"}"#);
    assert_eq!(client.ask("watch mails"), "WATCHING 2");
    assert_eq!(client.fetch("reserve"), (format!("RESERVED {id}"), r#"{"to":"you"}"#.to_owned()));
    assert_eq!(client.stat(&format!("stats-job {id}"), "state"), "reserved");
    assert_eq!(client.ask(&format!("delete {id}")), "DELETED");
    assert_eq!(client.ask(&format!("delete {id}")), "NOT_FOUND");
    let task = server.think(&["task:show", &id.to_string(), "--json"]).exits(0).json();
    assert_eq!((&task["state"], &task["queue"]), (&"done".into(), &"mails".into()), "{task}");
    assert_eq!(task["args"]["json"]["to"], "you", "a body that is JSON is shown as such");
    let worker = task["history"][0]["worker"].as_str().unwrap();
    assert!(worker.starts_with("beanstalkd 127.0.0.1:"), "{worker}");
}

#[test]
fn bodies_of_any_bytes_come_back_byte_by_byte() {
    let server = server();
    let mut client = Beanstalk::connect(&server);
    for body in ["", "\r\n", "a\0b", "put 1 0 1 1", "{\"a\":1}\n", " [1]", "\u{1f41f}", "[1,2]"] {
        let id = client.put("1 0 60", body);
        assert_eq!(client.fetch("reserve"), (format!("RESERVED {id}"), body.to_owned()));
        assert_eq!(client.ask(&format!("delete {id}")), "DELETED");
    }
    let id = client.put("1 0 60", "") + 1;
    client.0.send("reserve\r\n").exactly(format!("RESERVED {} 0\r\n\r\n", id - 1).len());
    client.0.send(b"put 1 0 60 4\r\n\xff\xfe\x00\x80\r\nreserve\r\nquit\r\n");
    let mut expected = format!("INSERTED {id}\r\nRESERVED {id} 4\r\n").into_bytes();
    expected.extend_from_slice(b"\xff\xfe\x00\x80\r\n");
    assert_eq!(client.0.rest_bytes(), expected);
}

#[test]
fn buried_job_is_a_failed_task_which_kick_and_the_console_retry() {
    let server = server();
    let mut client = Beanstalk::connect(&server);
    let id = client.put("10 0 60", "x");
    client.fetch("reserve");
    assert_eq!(client.ask(&format!("bury {id} 5")), "BURIED");
    assert_eq!(client.fetch("peek-buried").0, format!("FOUND {id}"));
    assert_eq!(server.ledger()["failed"], 1);
    assert_eq!(client.ask("kick 10"), "KICKED 1");
    client.fetch("reserve");
    assert_eq!(client.stat(&format!("stats-job {id}"), "pri"), "5");
    assert_eq!(client.ask(&format!("bury {id} 5")), "BURIED");
    server.think(&["task:retry", &id.to_string()]).exits(0);
    assert_eq!(client.fetch("reserve").0, format!("RESERVED {id}"));
    assert_eq!(client.stat(&format!("stats-job {id}"), "reserves"), "3");
    assert_eq!(client.stat(&format!("stats-job {id}"), "buries"), "2");
    let ledger = server.ledger();
    assert_eq!((&ledger["failed"], &ledger["running"]), (&0.into(), &1.into()));
}

#[test]
fn released_job_is_ready_again_or_delayed_with_its_new_priority() {
    let server = server();
    let mut client = Beanstalk::connect(&server);
    let id = client.put("2000 0 60", "x");
    let other = client.put("100 0 60", "y");
    assert_eq!(client.fetch("reserve").0, format!("RESERVED {other}"));
    client.fetch("reserve");
    assert_eq!(client.ask(&format!("release {other} 4294967295 0")), "RELEASED");
    assert_eq!(client.ask(&format!("release {id} 0 0")), "RELEASED");
    assert_eq!(client.fetch("peek-ready").0, format!("FOUND {id}"));
    client.fetch("reserve");
    assert_eq!(client.ask(&format!("release {id} 3 1000")), "RELEASED");
    assert_eq!(client.stat(&format!("stats-job {id}"), "state"), "delayed");
    assert_eq!(client.stat(&format!("stats-job {id}"), "delay"), "1000");
    assert_eq!(client.fetch("peek-delayed").0, format!("FOUND {id}"));
    assert_eq!(client.ask(&format!("kick-job {id}")), "KICKED");
    assert_eq!(client.fetch("reserve").0, format!("RESERVED {id}"));
}

#[test]
fn job_is_ready_again_when_its_connection_is_gone_or_its_time_to_run_is_over() {
    let server = server();
    let mut client = Beanstalk::connect(&server);
    let mut lost = Beanstalk::connect(&server);
    let id = client.put("1 0 60", "x");
    assert_eq!(lost.fetch("reserve").0, format!("RESERVED {id}"));
    assert_eq!(client.ask(&format!("touch {id}")), "NOT_FOUND", "it is held by the other one");
    assert_eq!(client.ask(&format!("delete {id}")), "NOT_FOUND");
    drop(lost);
    assert_eq!(client.fetch("reserve").0, format!("RESERVED {id}"));
    assert_eq!(client.ask(&format!("delete {id}")), "DELETED");
    let id = client.put("1 0 1", "y");
    assert_eq!(client.fetch("reserve").0, format!("RESERVED {id}"));
    assert_eq!(client.ask("reserve"), "DEADLINE_SOON");
    wait_until("its time to run is over", || client.stat(&format!("stats-job {id}"), "state") == "ready");
    assert_eq!(client.stat(&format!("stats-job {id}"), "timeouts"), "1");
    assert_eq!(client.ask(&format!("touch {id}")), "NOT_FOUND");
}

#[test]
fn waiting_clients_get_jobs_in_the_order_in_which_they_wait() {
    let server = server();
    let mut producer = Beanstalk::connect(&server);
    let mut waiting: Vec<_> = (1..=3)
        .map(|number| {
            let mut client = Beanstalk::connect(&server);
            client.0.send("reserve-with-timeout 60\r\n");
            let count = number.to_string();
            wait_until("it waits", || producer.stat("stats-tube default", "current-waiting") == count);
            client
        })
        .collect();
    let ids: Vec<_> = (0..3).map(|_| producer.put("1 0 60", "x")).collect();
    for (client, id) in waiting.iter_mut().zip(ids) {
        let line = client.line();
        assert_eq!(client.body(&line).0, format!("RESERVED {id}"));
    }
    let mut client = Beanstalk::connect(&server);
    assert_eq!(client.ask("reserve-with-timeout 1"), "TIMED_OUT");
    client.0.send("reserve\r\n");
    producer.put("1 1 60", "delayed by a second");
    assert!(client.line().starts_with("RESERVED "));
}

#[test]
fn task_of_the_function_is_sent_by_the_console_and_worked_by_a_client() {
    let server = server();
    server.think(&["task:send", "beanstalkd", r#"{"text":"hello"}"#, "--no-wait"]).exits(0);
    let mut client = Beanstalk::connect(&server);
    client.ask("watch beanstalkd");
    assert_eq!(client.fetch("reserve").1, "hello");
    let listed = server.think(&["task:functions"]).exits(0).stdout;
    assert!(listed.contains("clients of beanstalkd"), "{listed}");
}

#[test]
fn bounds_hold_for_bodies_tubes_and_held_jobs() {
    let server = server_with("package_max_length = \"100\"\nmax_foreign_queues = 2\nmax_in_flight = 1");
    let mut client = Beanstalk::connect(&server);
    client.0.send(format!("put 1 0 1 101\r\n{}\r\n", "x".repeat(101)));
    assert_eq!(client.line(), "JOB_TOO_BIG");
    assert_eq!(client.ask("use second"), "USING second");
    assert_eq!(client.ask("use third"), "OUT_OF_MEMORY");
    assert_eq!(client.ask("watch third"), "OUT_OF_MEMORY");
    client.ask("use default");
    // The second one was only a name, which nobody has any more.
    assert_eq!(client.ask("use third"), "USING third");
    client.ask("use default");
    client.put("1 0 60", "x");
    client.put("1 0 60", "y");
    client.fetch("reserve");
    assert_eq!(client.ask("reserve"), "OUT_OF_MEMORY");
    let limits = &server.status()["limits"];
    assert_eq!(limits["package_max_length"], 1, "{limits}");
}
