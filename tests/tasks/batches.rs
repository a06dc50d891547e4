//! Batches: task:batch, task:batches, and files with mistakes.

mod following;

use std::io::Write;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::Ran;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

/// The counts of done, cancelled and waiting tasks.
fn counts(server: &Server) -> (Value, Value, Value) {
    let mut ledger = server.status()["ledger"].take();
    (ledger["done"].take(), ledger["cancelled"].take(), ledger["waiting"].take())
}

fn numbers(count: usize) -> String {
    (0..count).map(|number| format!("\"user{number}\"\n")).collect()
}

#[test]
fn task_batch_sends_a_file_and_runs_its_completion() {
    let mut server = Server::start();
    server.project.write("users.ndjson", &format!("\u{feff}{}\r\n  \n", numbers(1_000)));
    let file = server.project.path("users.ndjson");
    let arguments = ["task:batch", "echo", file.to_str().unwrap(), "--then", "batch_ended"];
    let ran = server.think(&arguments).exits(0);
    assert!(ran.stdout.starts_with("batch 1: 1000 of 1000 tasks done"), "{ran:?}");
    server.line_with("Batch 1 (users.ndjson) has ended: 1000 of 1000 done, 0 not");
    assert_eq!(counts(&server), (json!(1_001), json!(0), json!(0)));
    let story = server.think(&["task:show", "--batch", "1", "--json"]).exits(0).json();
    assert_eq!((&story["state"], &story["then_task_id"]), (&json!("ended"), &json!(1_000)));
    let text = server.think(&["task:batches"]).exits(0).stdout;
    assert!(text.contains("users.ndjson") && text.contains("ended"), "{text}");
}

#[test]
fn task_batch_names_a_bad_line_and_runs_nothing() {
    let server = Server::start();
    let write = |line: &[u8]| {
        let mut bytes = numbers(5_730).into_bytes();
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        bytes.extend_from_slice(numbers(1_000).as_bytes());
        std::fs::write(server.project.path("bad.ndjson"), bytes).unwrap();
    };
    let long = format!("\"{}\"", "x".repeat(3 << 20));
    for (line, said) in [
        (&b"{\"to\""[..], "not JSON"),
        (b"\"a\",\"function\":\"noop\"", "not JSON"),
        (b"5", "do not fit the function \"echo\""),
        (b"\"a\xff\"", "not UTF-8 from byte 3 on"),
        (long.as_bytes(), "longer than"),
    ] {
        write(line);
        let file = server.project.path("bad.ndjson");
        let ran = server.think(&["task:batch", "echo", file.to_str().unwrap()]).exits(1);
        assert!(ran.stderr.contains("line 5731: ") && ran.stderr.contains(said), "{ran:?}");
        assert!(ran.stdout.is_empty(), "{ran:?}");
    }
    let (done, _, waiting) = counts(&server);
    assert_eq!((done, waiting), (json!(0), json!(0)), "nothing has run, and nothing is left");
}

#[test]
fn task_batch_checks_the_first_lines_before_sending() {
    let server = Server::start();
    server.project.write("bad.ndjson", "\"a\"\nb\n");
    let file = server.project.path("bad.ndjson");
    let ran = server.think(&["task:batch", "echo", file.to_str().unwrap()]).exits(1);
    assert!(ran.stderr.contains("line 2: not JSON") && ran.stderr.contains("nothing was sent"), "{ran:?}");
    assert_eq!(server.status()["ledger"]["accepted"], 0);
    assert_eq!(server.think(&["task:batches", "--json"]).exits(0).json(), json!([]));
}

#[test]
fn task_batch_skip_bad_omits_bad_lines() {
    let server = Server::start();
    let mixed: String = (0..40).map(|number| if number % 2 == 0 { "\"a\"\n" } else { "5\n" }).collect();
    server.project.write("mixed.ndjson", &mixed);
    let file = server.project.path("mixed.ndjson");
    let ran = server.think(&["task:batch", "echo", file.to_str().unwrap(), "--skip-bad"]).exits(0);
    assert!(ran.stdout.starts_with("batch 1: 20 of 20 tasks done"), "{ran:?}");
    for part in ["20 bad lines skipped", "  line 2: ", "  line 20: ", "and 10 more"] {
        assert!(ran.stderr.contains(part), "no {part:?}: {ran:?}");
    }
}

#[test]
fn task_batch_converts_csv_values_to_argument_types() {
    let mut server = Server::start();
    let header = "name,batch,total,done,failed,cancelled,expired";
    let text = format!("{header}\r\n2024,7,3,2,1,0,0\r\n\"a, \"\"b\"\"\nc\",8,1,1,0,0,0\r\n");
    server.project.write("ends.CSV", &text);
    let file = server.project.path("ends.CSV");
    server.think(&["task:batch", "batch_ended", file.to_str().unwrap()]).exits(0);
    server.line_with("Batch 7 (2024) has ended: 2 of 3 done, 1 not");
    let story = server.think(&["task:show", "1", "--json"]).exits(0).json();
    assert_eq!(story["args"]["name"], "a, \"b\"\nc");
    assert_eq!(story["args"]["batch"], 8);
}

#[test]
fn task_batch_names_mistakes_in_csv_lines() {
    let server = Server::start();
    for (text, said) in [
        ("to,title,content\na@example.com,x\n", "line 2: 2 values, but the header has 3"),
        ("to,tittle,content\na@example.com,x,y\n", "Did you mean \"title\"?"),
        ("to,to\na,b\n", "the header repeats the column \"to\""),
        ("to,\na,b\n", "column 2 of the header has no name"),
    ] {
        server.project.write("mails.csv", text);
        let file = server.project.path("mails.csv");
        let ran = server.think(&["task:batch", "send_mail", file.to_str().unwrap()]).exits(1);
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
    let mut unclosed = b"to,title,content\na@example.com,\"".to_vec();
    unclosed.resize(8 << 20, b'x');
    std::fs::write(server.project.path("mails.csv"), unclosed).unwrap();
    let file = server.project.path("mails.csv");
    let ran = server.think(&["task:batch", "send_mail", file.to_str().unwrap()]).exits(1);
    assert!(ran.stderr.contains("line 2: the quote that begins a value here is not closed"), "{ran:?}");
    assert_eq!(server.status()["ledger"]["done"], 0);
}

#[test]
fn task_batch_takes_nothing_of_a_csv_file_with_a_wrong_quote() {
    let server = Server::start();
    for (row, said) in [
        ("b@example.com,Hi,\"Hello", "line 3: the quote that begins a value here is not closed"),
        ("b@example.com,Hi,\"Hello\" you", "line 3: there is text behind a closing quote"),
    ] {
        let rows = format!("to,title,content\na@example.com,Hi,Hello\n{row}\nc@example.com,Hi,Hello\n");
        server.project.write("mails.csv", &rows);
        let file = server.project.path("mails.csv");
        for skip in [&[][..], &["--skip-bad"]] {
            let ran = server.think(&[&["task:batch", "send_mail", file.to_str().unwrap()], skip].concat());
            assert!(ran.exits(1).stderr.contains(said), "{said}");
        }
    }
    assert_eq!(server.status()["ledger"]["accepted"], 0);
}

#[test]
fn task_batch_reads_other_separators_and_asks_for_them() {
    let server = Server::start();
    let run = |file: &str, text: &str, options: &[&str]| {
        server.project.write(file, text);
        let file = server.project.path(file);
        server.think(&[&["task:batch", "send_mail", file.to_str().unwrap()], options].concat())
    };
    let rows = "to;title;content\na@example.com;\"a; b\";Hello, you\n";
    let ran = run("mails.csv", rows, &[]).exits(1);
    assert!(
        ran.stderr.contains("line 1: the header has a single column")
            && ran.stderr.contains("--separator ';'")
    );
    run("mails.csv", rows, &["--separator", ";"]).exits(0);
    run("mails.txt", rows, &["--separator=;"]).exits(0);
    let tabs = rows.replace("a; b", "a b").replace(';', "\t");
    run("mails.tsv", &tabs, &[]).exits(0);
    run("mails.txt", &tabs, &["--separator", "tab"]).exits(0);
    run("mails.csv", rows, &["--separator", "\""]).exits(2);
    assert_eq!(server.think(&["task:show", "0", "--json"]).json()["args"]["title"], "a; b");
    assert_eq!(server.status()["ledger"]["done"], 4);
}

#[test]
fn task_batch_of_a_file_without_tasks_fails() {
    let server = Server::start();
    server.project.write("empty.ndjson", "\n\n");
    server.project.write("empty.csv", "to,title,content\n");
    for (file, said) in
        [("empty.ndjson", "no tasks"), ("empty.csv", "no tasks"), ("gone.ndjson", "gone.ndjson")]
    {
        let file = server.project.path(file);
        let ran = server.think(&["task:batch", "send_mail", file.to_str().unwrap()]).exits(1);
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    assert_eq!(server.think(&["task:batches", "--json"]).exits(0).json(), json!([]));
}

#[test]
fn detached_batch_can_be_cancelled_and_still_completes() {
    let mut server = Server::start();
    server.think(&["queue:pause", "default"]).exits(0);
    server.project.write("users.ndjson", &numbers(100));
    let file = server.project.path("users.ndjson");
    let ran = server
        .think(&[
            "task:batch",
            "echo",
            file.to_str().unwrap(),
            "--detach",
            "--name",
            "mine",
            "--then",
            "batch_ended",
        ])
        .exits(0);
    assert_eq!(ran.stdout, "1\n");
    let text = server.think(&["task:show", "--batch", "1"]).exits(0).stdout;
    assert!(text.contains("name            mine") && text.contains("0%"), "{text}");
    let ran = server.think(&["task:cancel", "--batch", "1"]).exits(0);
    assert_eq!(ran.stdout, "batch 1: 100 tasks cancelled\n");
    server.think(&["queue:resume", "default"]).exits(0);
    server.line_with("Batch 1 (mine) has ended: 0 of 100 done, 100 not");
}

#[test]
fn task_batch_with_failed_tasks_exits_1() {
    let server = Server::start();
    server.think(&["queue:pause", "default"]).exits(0);
    server.project.write("users.ndjson", &numbers(10));
    let mut command = server.project.command();
    command.args(["task:batch", "echo", "users.ndjson", "--json", "--address", &server.address]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the tasks wait", || server.ledger()["waiting"] == 10);
    server.think(&["task:cancel", "0", "1"]).exits(0);
    server.think(&["queue:resume", "default"]).exits(0);
    let ran = Ran::finish(child).exits(1);
    let story = ran.json();
    assert_eq!((&story["done"], &story["cancelled"]), (&json!(8), &json!(2)));
    assert!(ran.stderr.contains("2 cancelled"), "{ran:?}");
}

#[test]
fn ctrl_c_during_task_batch_cancels_the_batch() {
    let server = Server::start();
    let mut command = server.project.command();
    command.args(["task:batch", "echo", "-", "--address", &server.address]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(numbers(20_000).as_bytes()).unwrap();
    wait_until("some tasks wait", || server.ledger()["waiting"] != 0);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::finish(child).exits(130);
    drop(input);
    assert!(ran.stderr.contains("batch 1 is cancelled, and none of its tasks runs"), "{ran:?}");
    let (done, _, waiting) = counts(&server);
    assert_eq!((done, waiting), (json!(0), json!(0)));
}

#[test]
fn ended_batches_beyond_the_retention_count_are_forgotten_and_their_ids_not_given_again() {
    for durability in ["fsync", "memory"] {
        let settings = format!("app_log = false\nbatch_retention_count = 2\ndurability = \"{durability}\"\n");
        let mut server = Server::with_settings(&settings);
        server.project.write("two.ndjson", &numbers(2));
        let file = server.project.path("two.ndjson");
        // One that stays open keeps its place among those that end.
        let open = server
            .connect()
            .send("{\"command\":\"open_batch\",\"function\":\"echo\",\"name\":\"open\"}\n")
            .json();
        assert_eq!(open["result"]["batch_id"], 1, "{open}");
        for _ in 0..5 {
            server.think(&["task:batch", "noop", file.to_str().unwrap()]).exits(0);
        }
        let ids = |server: &Server| {
            let batches = server.think(&["task:batches", "--json"]).exits(0).json();
            batches
                .as_array()
                .unwrap()
                .iter()
                .map(|batch| batch["batch_id"].as_u64().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&server), [6, 5, 1], "{durability}");
        server.think(&["task:show", "--batch", "4"]).exits(5);
        if durability == "fsync" {
            server.signal(Signal::KILL);
            server = server.again("");
            assert_eq!(ids(&server), [6, 5, 1]);
        }
        server.think(&["task:batch", "noop", file.to_str().unwrap()]).exits(0);
        assert_eq!(ids(&server), [7, 6, 1], "{durability}");
    }
}
