//! The commands that connect to a server: task:send, task:status and task:bench.

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::eventually::PATIENCE;
use crate::harness::mail::SilentMailServer;
use crate::harness::metrics::assert_balanced;
use crate::harness::process::wait;
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

#[test]
fn client_commands_without_a_server_explain_how_to_start_one() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for command in ["task:send hello", "task:status", "task:bench"] {
        let ran = Project::new().think(&format!("{command} --address {address}")).exits(3);
        assert!(
            ran.stderr.contains(concat!(env!("CARGO_BIN_EXE_think"), " task:start")) && ran.stdout.is_empty(),
            "{ran:?}"
        );
    }
}

#[test]
fn task_send_prints_the_task_id() {
    let server = Server::start();
    assert_eq!(server.think(&["task:send", "noop", "{}"]).exits(0).stdout, "0\n");
    let ran = server.think(&["task:send", "noop", "[1, 2]", "--json"]).exits(0);
    assert_eq!(ran.stdout, "{\"task_id\":1,\"status\":\"queued\"}\n");
}

#[test]
fn task_send_wait_prints_the_result_below_the_id() {
    let server = Server::start();
    let ran = server.think(&["task:send", "echo", "\"hi\"", "--wait"]).exits(0);
    assert_eq!(ran.stdout, "0\n\"hi -> OK\"\n");
    let ran = server.think(&["task:send", "echo", "\"hi\"", "--wait=60", "--json"]).exits(0);
    assert_eq!(ran.json(), serde_json::json!({"task_id": 1, "status": "done", "result": "hi -> OK"}));
}

#[test]
fn task_send_wait_that_expires_prints_the_id_and_fails() {
    let server = Server::start();
    let ran = server.think(&["task:send", "noop", "{}", "--delay", "1h", "--wait=0.05"]).exits(1);
    assert_eq!(ran.stdout, "0\n");
    assert!(ran.stderr.contains("task 0 has not ended after 0.05 s"), "{ran:?}");
}

#[test]
fn task_send_options_reach_the_server() {
    let server = Server::start();
    let options = [
        "--key=k",
        "--concurrency-key=c",
        "--attempts=2",
        "--timeout=5s",
        "--backoff=1s",
        "--expires=60",
        "--at=2001-01-01T00:00:00Z",
        "--then=echo",
        "--then=echo",
    ];
    let send = [&["task:send", "echo", "\"a\"", "--wait"], &options[..]].concat();
    for _ in 0..2 {
        assert_eq!(server.think(&send).exits(0).stdout, "0\n\"a -> OK\"\n", "the same task, as its key says");
    }
    for (wrong, code, told) in [
        (&["--at=tomorrow"][..], 5, "\"at\" must be a date and time with its offset"),
        (&["--expires=never"], 5, "\"expires\" must be seconds"),
        (&["--then=ehco"], 5, "Did you mean \"echo\"?"),
        (&["--at=2001-01-01T00:00:00Z", "--delay=1s"], 2, "cannot be used with"),
        (&["--attempts=0"], 2, "--attempts"),
    ] {
        let ran = server.think(&[&["task:send", "echo", "\"a\""], wrong].concat()).exits(code);
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
}

#[test]
fn task_send_of_plain_text_sends_raw_data() {
    let server = Server::start();
    let ran = server.think(&["task:send", "--raw", "hello"]).exits(0);
    assert_eq!(ran.stdout, "Message from Server: hello, task_id: 0\n");
    let ran = server.think(&["task:send", "--raw", "hello", "--wait"]).exits(2);
    assert!(ran.stderr.contains("name the function"), "{ran:?}");
    server.think(&["task:send", "--raw", "hello", "you"]).exits(2);
}

#[test]
fn task_send_takes_its_first_word_for_the_name_of_a_function() {
    let server = Server::start();
    for (word, said) in [
        ("hello", "There is no function \"hello\". With --raw, the text itself is sent as a line."),
        ("ehco", "There is no function \"ehco\". Did you mean \"echo\"? With --raw"),
    ] {
        let ran = server.think(&["task:send", word]).exits(5);
        assert!(ran.stderr.contains(said) && ran.stdout.is_empty(), "{ran:?}");
    }
    for (word, said) in [
        ("echo", "echo requires its argument, as in: task:send echo TEXT"),
        ("send_mail", "send_mail requires --to <TEXT>, --content <TEXT>"),
    ] {
        let ran = server.think(&["task:send", word]).exits(2);
        assert!(ran.stderr.contains(said) && ran.stdout.is_empty(), "{ran:?}");
    }
    assert_eq!(server.status()["ledger"]["accepted"], 0);
}

#[test]
fn task_send_takes_plain_text_where_the_function_takes_one_text() {
    let server = Server::start();
    for (text, result) in
        [("hello", "hello"), ("\"hello\"", "hello"), ("5", "5"), ("{x", "{x"), ("-5 degrees", "-5 degrees")]
    {
        let ran = server.think(&["task:send", "echo", text, "--wait"]).exits(0);
        assert!(ran.stdout.ends_with(&format!("\n\"{result} -> OK\"\n")), "{ran:?}");
    }
}

#[test]
fn task_send_wait_takes_its_limit_behind_a_space_too() {
    let server = Server::start();
    let ran = server.think(&["task:send", "echo", "hi", "--wait", "60"]).exits(0);
    assert!(ran.stdout.ends_with("\"hi -> OK\"\n"), "{ran:?}");
    let ran = server.think(&["task:send", "echo", "--wait", "60"]).exits(2);
    assert!(ran.stderr.contains("echo requires its argument"), "{ran:?}");
    let ran = server.think(&["task:send", "noop", "{}", "--delay", "1h", "--wait", "0.05"]).exits(1);
    assert!(ran.stderr.contains("has not ended after 0.05 s"), "{ran:?}");
}

#[test]
fn task_send_shows_no_control_sequence_of_a_result_or_an_error() {
    let server = Server::start();
    let bad = "\u{1b}[2J\u{9b}\u{202e}\r";
    for ran in [
        server.think(&["task:send", "echo", bad, "--wait"]).exits(0),
        server.think(&["task:send", bad]).exits(5),
        server.think(&["task:send", "--x\u{1b}[2J\u{9b}"]).exits(2),
        server.think(&[bad]).exits(2),
        server.think(&["task:batch", "echo", bad]).exits(1),
        server.think(&["task:list", "--queue", bad]).exits(5),
        server.think(&["task:show", "0"]).exits(0),
    ] {
        let shown = ran.stdout + &ran.stderr;
        assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\r']), "{shown:?}");
    }
}

#[test]
fn task_send_dash_reads_standard_input() {
    let server = Server::start();
    let mut command = server.project.command();
    command.args(["task:send", "echo", "-", "--wait", "--address", &server.address]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\n  \"from a pipe\"\n").unwrap();
    assert_eq!(Ran::finish(child).stdout, "0\n\"from a pipe -> OK\"\n");
}

#[test]
fn task_send_of_standard_input_needs_json_for_the_default_function() {
    let server = Server::with_settings("default_function = \"send_mail\"\n");
    let mail = "\u{feff}{\"to\": \"a@example.com\",\n\"content\": \"\"}\n";
    for (input, code, said) in
        [(mail, 0, ""), ("hello\n", 2, "is not JSON for the default function"), (" \n", 2, "input is empty")]
    {
        let mut command = server.project.command();
        command.args(["task:send", "-", "--address", &server.address]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let ran = Ran::finish(child).exits(code);
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    assert_eq!(server.status()["ledger"]["accepted"], 1);
}

#[test]
fn task_send_of_a_rejected_task_exits_5_and_queues_nothing() {
    let server = Server::with_settings("default_function = \"send_mail\"\n");
    for (arguments, said) in [
        (&["task:send", "ehco", "\"x\""][..], "Did you mean \"echo\"?"),
        (&["task:send", "send_mail", "5"], "do not fit the function \"send_mail\""),
        (&["task:send", r#"{"to":"nobody","title":"","content":""}"#], "nobody"),
        (&["task:send", r#"{"to":"a@example.com","tittle":"","content":""}"#], "Did you mean \"title\"?"),
        (&["task:send", "noop", "{}", "--queue", "mial"], "Did you mean \"mail\"?"),
    ] {
        let ran = server.think(arguments).exits(5);
        assert!(ran.stderr.contains(said) && ran.stdout.is_empty(), "{ran:?}");
    }
    assert_eq!(server.status()["ledger"]["accepted"], 0);
}

#[test]
fn task_send_rejects_invalid_json_before_sending() {
    for arguments in ["send_mail {x", "{x", "nonsense {x"] {
        let ran = Project::new().think(&format!("task:send {arguments}")).exits(2);
        assert!(ran.stderr.contains("not JSON"), "{ran:?}");
    }
}

#[test]
fn task_status_reports_the_server_and_a_balanced_ledger() {
    let server = Server::start();
    server.think(&["task:send", "noop", "{}", "--wait"]).exits(0);
    server.think(&["task:send", "noop", "{}", "--delay", "1h"]).exits(0);
    let status = server.status();
    assert_eq!(status["pid"], server.pid());
    assert_eq!((&status["store"], &status["durability"]), (&"sqlite".into(), &"fsync".into()));
    assert_eq!((&status["storage_error"], &status["worker_groups"]["*"]), (&Value::Null, &status["workers"]));
    assert_eq!(
        status["queues"]["default"],
        serde_json::json!({"waiting": 0, "delayed": 1, "running": 0, "parked": 0, "paused": false})
    );
    let ledger = serde_json::json!({
        "accepted": 2, "done": 1, "failed": 0, "cancelled": 0, "expired": 0, "waiting": 1, "running": 0
    });
    assert_eq!(status["ledger"], ledger);
    let text = server.think(&["task:status"]).exits(0).stdout;
    for word in ["version", "uptime", "task workers", "connections", "accepted", "p99"] {
        assert!(text.contains(word), "no {word} in\n{text}");
    }
}

#[test]
fn ledger_balances_at_every_moment_under_load() {
    let server = Server::with_settings("app_log = false\n");
    let mut load = server
        .project
        .command()
        .args(["task:bench", "--time", "1s", "-c", "8", "--address", &server.address])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut client = server.connect();
    let (begun, mut last) = (Instant::now(), 0);
    while load.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "the load does not end");
        let ledger = client.status()["ledger"].take();
        assert_balanced(&ledger);
        let accepted = ledger["accepted"].as_u64().unwrap();
        assert!(accepted >= last, "{ledger}");
        last = accepted;
    }
    assert!(last > 0, "there was a load");
    assert!(wait(&mut load).success());
}

#[test]
fn task_bench_measures_the_server_and_the_baseline() {
    let server = Server::with_settings("app_log = false\n");
    let ran = server
        .think(&["task:bench", "-c", "2", "-d", "2", "-t", "0.1", "--wait", "--echo", "--json"])
        .exits(0);
    let report = ran.json();
    assert_eq!(report["lost"], 0);
    assert!(report["acknowledged_per_second"].as_u64() > Some(0), "{report}");
    assert!(report["echo"]["answered_per_second"].as_u64() > Some(0), "{report}");
}

#[test]
fn task_start_distinguishes_a_server_from_another_program() {
    let server = Server::start();
    let port = server.address.rsplit(':').next().unwrap();
    let ran = Project::new().think(&format!("task:start --port {port}")).exits(4);
    assert!(
        ran.stderr.contains(&format!("pid {}", server.pid())) && ran.stderr.contains(&server.address),
        "{ran:?}"
    );

    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let ran = Project::new().think(&format!("task:start --port {}", address.port())).exits(1);
    assert!(ran.stderr.contains(&address.to_string()), "{ran:?}");
}

#[test]
fn task_start_on_a_public_address_requires_insecure() {
    let ran = Project::new().think("task:start --port 0 --host 0.0.0.0").exits(1);
    assert!(ran.stderr.contains("insecure = true"), "{ran:?}");
}

#[test]
fn log_file_and_pid_file_are_written_where_the_settings_say() {
    let project = Project::new();
    project.write(
        "config/server.toml",
        "log_file = \"runtime/logs/server.log\"\npid_file = \"runtime/server.pid\"\n",
    );
    let mut server = Server::with(project, "--log-format json");
    assert_eq!(server.project.read("runtime/server.pid"), format!("{}\n", server.pid()));
    // A stop leaves what has not begun for the next start: the end has to be there first.
    let end = r#"{"function":"echo","args":"hello","reply":"result"}"#;
    server.connect().send(format!("{end}\n")).line();
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    assert!(!server.project.path("runtime/server.pid").exists());
    let log = server.project.read("runtime/logs/server.log");
    let messages: Vec<_> = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    assert!(messages.iter().any(|line| line["message"] == "AsyncTask[0] Finish: hello -> OK"), "{log}");
}

#[test]
fn second_ctrl_c_ends_the_server_at_once() {
    // It keeps a task running.
    let mail_server = SilentMailServer::start();
    let project = Project::new();
    mail_server.configure(&project);
    let mut server = Server::with(project, "");
    server.think(&["task:send", "send_mail", r#"{"to":"a@example.com","content":""}"#]).exits(0);
    server.line_with("Dispatch AsyncTask: id=0");
    server.signal(Signal::INT);
    server.line_with("Ctrl-C again");
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(130));
}
