//! The functions of config/functions.toml that are commands: one process for each attempt.

use std::fs;

use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::curl::curl;
use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::readme::blocks;
use crate::harness::server::Server;
use crate::harness::{Project, Ran, installed};

/// Shell scripts as functions, each with more keys of its table.
fn project_of(functions: &[(&str, &str, &str)]) -> Project {
    let project = Project::with_settings("worker_cancel_time = \"1s\"\nmin_retry_pause = \"1ms\"\n");
    declare(&project, functions);
    project
}

fn declare(project: &Project, functions: &[(&str, &str, &str)]) {
    let mut file = String::new();
    for (name, script, keys) in functions {
        project.write(&format!("{name}.sh"), script);
        file += &format!("[functions.{name}]\ncommand = [\"sh\", \"{name}.sh\"]\n{keys}\n");
    }
    project.write("config/functions.toml", &file);
}

fn server_of(functions: &[(&str, &str, &str)]) -> Server {
    Server::with(project_of(functions), "")
}

/// Sends a task with its end as the only reply; the reply.
#[track_caller]
fn end_of(server: &Server, task: Value) -> Value {
    begin(server, task).json()
}

/// Sends a task with its end as the only reply.
fn begin(server: &Server, mut task: Value) -> Client {
    task["reply"] = "result".into();
    let mut client = server.connect();
    client.send(format!("{task}\n"));
    client
}

/// The pid in a file that a script has written.
#[track_caller]
fn pid(project: &Project, file: &str) -> Pid {
    eventually("the script has begun", || {
        let text = fs::read_to_string(project.path(file)).ok()?;
        text.ends_with('\n').then(|| Pid::from_raw(text.trim().parse().ok()?)).flatten()
    })
}

#[track_caller]
fn ends(pid: Pid) {
    let stat = || fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    wait_until("the process ends", || test_kill_process(pid).is_err() || stat().contains(") Z "));
}

#[test]
fn command_gets_arguments_and_its_output_is_the_result() {
    let server = server_of(&[
        ("give_back", "cat", ""),
        ("say", "echo hello", ""),
        ("nothing", "exit 0", ""),
        (
            "tell",
            "echo \"$THINK_FUNCTION $THINK_TASK_ID $THINK_ATTEMPT $((THINK_DEADLINE - $(date +%s))) $A $(basename \"$THINK_SERVER\")\"",
            "timeout = \"1h\"\nenvironment = { A = \"b\" }",
        ),
        ("early", "exec 0<&-; echo done", ""),
    ]);
    let args = json!({"width": 21, "text": "ü \u{1b}"});
    assert_eq!(end_of(&server, json!({"function": "give_back", "args": args}))["result"], args);
    assert_eq!(end_of(&server, json!({"function": "say"}))["result"], "hello");
    assert_eq!(end_of(&server, json!({"function": "nothing"}))["result"], Value::Null);
    let told = end_of(&server, json!({"function": "tell"}));
    let words: Vec<_> = told["result"].as_str().unwrap().split(' ').collect();
    assert_eq!((words[0], words[1], words[2]), ("tell", told["task_id"].to_string().as_str(), "1"));
    assert!((3_500..=3_600).contains(&words[3].parse().unwrap()), "{told}");
    assert_eq!(&words[4..], ["b", "server.sock"]);
    let long = "x".repeat(1_000_000);
    assert_eq!(end_of(&server, json!({"function": "early", "args": long}))["result"], "done");
}

#[test]
fn exit_code_and_stderr_are_the_error_and_the_log() {
    let script = "cat >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do echo \"line $i\" >&2; done; printf 'a \\033[1m b\\n' >&2; exit 3";
    let server = server_of(&[("fails", script, ""), ("crashes", "kill -SEGV $$", "")]);
    let end = end_of(&server, json!({"function": "fails"}));
    let error = end["error"].as_str().unwrap();
    assert!(
        error.starts_with("exit code 3: line 4 / line 5 ") && error.ends_with("a \u{1b}[1m b"),
        "{error}"
    );
    let shown = server.think(&["task:show", &end["task_id"].to_string()]).exits(0).stdout;
    assert!(shown.contains("line 1") && shown.contains("\\u{1b}[1m"), "{shown}");
    let end = end_of(&server, json!({"function": "crashes"}));
    assert!(end["error"].as_str().unwrap().contains("signal: 11"), "{end}");
}

#[test]
fn failed_attempt_is_retried_and_exit_code_75_may_say_when() {
    let count = "n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) > count; test $n -ge 2 && echo $THINK_ATTEMPT && exit";
    let server = server_of(&[
        ("flaky", &format!("{count}; exit 1"), "attempts = 3\nbackoff = \"1ms\""),
        ("later", "test $THINK_ATTEMPT = 2 && exit; echo 50ms; exit 75", "attempts = 2\nbackoff = \"1h\""),
    ]);
    let end = end_of(&server, json!({"function": "flaky"}));
    assert_eq!((&end["status"], &end["result"]), (&json!("done"), &json!(3)));
    assert_eq!(end_of(&server, json!({"function": "later"}))["status"], "done");
}

#[test]
fn arguments_are_checked_at_the_door() {
    let schema = "schema = { type = \"object\", properties = { width = { type = \"integer\" } }, required = [\"width\"] }\ndescription = \"Makes an image smaller\"";
    let project = project_of(&[("resize", "cat", schema), ("by_file", "cat", "schema = \"by_file.json\"")]);
    project.write("by_file.json", "{\"type\":\"string\"}");
    let server = Server::with(project, "");
    let refused = end_of(&server, json!({"function": "resize", "args": {"width": "wide"}}));
    assert_eq!(refused["code"], "bad_arguments");
    assert!(refused["error"].as_str().unwrap().contains("\"resize\" at /width"), "{refused}");
    assert_eq!(end_of(&server, json!({"function": "by_file", "args": 7}))["code"], "bad_arguments");
    assert_eq!(end_of(&server, json!({"function": "by_file", "args": "x"}))["result"], "x");
    let functions = server.connect().send("{\"command\":\"functions\"}\n").json()["result"].take();
    let resize = functions.as_array().unwrap().iter().find(|function| function["name"] == "resize").unwrap();
    assert_eq!((&resize["file"], &resize["line"]), (&json!("config/functions.toml"), &json!(1)));
    assert_eq!(resize["description"], "Makes an image smaller");
    for arguments in [&["{\"width\":21}"][..], &["--width", "21"]] {
        let sent = server.think(&[&["task:send", "resize", "--wait"], arguments].concat()).exits(0).stdout;
        assert_eq!(sent.lines().last(), Some("{\"width\":21}"));
    }
    let help = server.project.think("task:send resize --help").exits(0).stdout;
    assert!(help.contains("--width"), "{help}");
}

#[test]
fn schedule_may_name_a_declared_function() {
    let project = project_of(&[("nightly", "cat", "")]);
    project.write("config/schedule.toml", "[nightly]\ncron = \"0 4 * * *\"\nargs = { a = 1 }\n");
    let server = Server::with(project, "");
    let listed = server.project.think("schedule:list").exits(0).stdout;
    assert!(listed.contains("nightly"), "{listed}");
    server.think(&["schedule:run", "nightly"]).exits(0);
    wait_until("it has run", || server.ledger()["done"] == 1);
}

#[test]
fn timeout_and_cancel_end_the_whole_process_group() {
    let script = "sleep 600 & echo $! > child; echo $$ > leader; trap 'echo asked > asked; exit 1' TERM; while :; do sleep 0.05; done";
    let stubborn = "trap '' TERM; echo $$ > stubborn; while :; do sleep 0.05; done";
    let server = server_of(&[("waits", script, ""), ("stays", stubborn, "")]);
    let mut client = begin(&server, json!({"function": "waits", "timeout": "1s"}));
    let pids = ["leader", "child"].map(|file| pid(&server.project, file));
    let error = client.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("took longer than its timeout of 1s"), "{error}");
    assert_eq!(server.project.read("asked"), "asked\n");
    pids.into_iter().for_each(ends);

    let mut client = begin(&server, json!({"function": "stays"}));
    let stays = pid(&server.project, "stubborn");
    server.think(&["task:cancel", "1"]).exits(0);
    assert_eq!(client.json()["status"], "cancelled");
    ends(stays);
}

#[test]
fn kill_of_the_server_leaves_no_process() {
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let server = server_of(&[("waits", script, "")]);
    let _client = begin(&server, json!({"function": "waits"}));
    let pid = pid(&server.project, "pid");
    server.signal(Signal::KILL);
    ends(pid);
}

#[test]
fn stop_kills_what_runs_after_the_grace_period_and_it_runs_again() {
    let script = "echo $$ > pid; test -e again && exit; sleep 600";
    let mut server = server_of(&[("waits", script, "")]);
    let mut client = server.connect();
    client.send("{\"function\":\"waits\"}\n").json();
    let first = pid(&server.project, "pid");
    server.think(&["task:stop", "--grace", "100ms"]).exits(0);
    server.exit_code();
    ends(first);
    server.project.write("again", "");
    let server = server.again("");
    wait_until("it has run again", || server.ledger()["done"] == 1);
}

#[test]
fn result_that_is_too_long_fails_for_good() {
    let project =
        project_of(&[("floods", "yes", "attempts = 5"), ("murmurs", "yes >&2", "timeout = \"1s\"")]);
    project.write("config/server.toml", "package_max_length = \"64KB\"\nworker_cancel_time = \"1s\"\n");
    let server = Server::with(project, "");
    let end = end_of(&server, json!({"function": "floods"}));
    assert!(end["error"].as_str().unwrap().contains("longer than 65536 bytes (package_max_length)"), "{end}");
    assert!(end_of(&server, json!({"function": "murmurs"}))["error"].as_str().unwrap().contains("timeout"));
}

#[test]
fn limits_hold_for_a_process() {
    let server = server_of(&[("limits", "ulimit -v; nice", "max_memory = \"512MB\"\nnice = 7")]);
    assert_eq!(end_of(&server, json!({"function": "limits"}))["result"], "524288\n7");
}

#[test]
fn many_commands_at_once_hold_no_thread_of_other_tasks() {
    let project = project_of(&[("waits", "sleep 600", "")]);
    project
        .write("config/server.toml", "task_threads = 1\ntask_worker_num = 20\nworker_cancel_time = \"0s\"\n");
    let server = Server::with(project, "");
    let mut client = server.connect();
    client.send("{\"function\":\"waits\"}\n".repeat(15));
    wait_until("they run", || server.ledger()["running"] == 15);
    assert_eq!(end_of(&server, json!({"function": "echo", "args": "hi"}))["result"], "hi -> OK");
}

#[test]
fn program_that_is_not_there_fails_the_attempt() {
    let project = Project::new();
    project.write("config/functions.toml", "[missing]\ncommand = \"no-such-program --x\"\n");
    let server = Server::with(project, "");
    let error = end_of(&server, json!({"function": "missing"}))["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("no-such-program cannot be run: No such file"), "{error}");
}

#[test]
fn wrong_declarations_are_refused_with_their_place() {
    for (file, says) in [
        (
            "\n[functions.resize]\ncomand = \"a\"\n",
            "config/functions.toml:3: `resize` has no setting `comand`; did you mean `command`?",
        ),
        ("[functions.resize]\n", "config/functions.toml:1: `resize` says not how it runs"),
        (
            "[functions.a]\ncommand = \"a\"\n[functions.b]\ncommand = \"b\"\nurl = \"https://example.com\"\n",
            "config/functions.toml:3: `b` has a `command` and a `url`",
        ),
        (
            "[echo]\ncommand = \"a\"\n",
            "config/functions.toml:1: `echo` is also a function of this program, at app/task/echo.rs:",
        ),
        (
            "[resize]\ncommand = \"a\"\n[functions.resize]\ncommand = \"b\"\n",
            "[resize] and [functions.resize] are the same: remove one of them",
        ),
        ("[resize]\ncommand = \"a\"\nattempts = 0\n", "`resize` cannot be used: "),
        ("[resize]\ncommand = \"a\"\nschema = { type = \"nonsense\" }\n", "`resize` cannot be used: "),
        (
            "[resize]\ncommand = \"a\"\nschema = \"no.json\"\n",
            "`resize` has a schema in no.json, which cannot be read",
        ),
        ("[resize]\ncommand = \"a\"\nnice = 20\n", "`nice` from 0 to 19"),
        ("[resize]\nurl = \"ftp://example.com\"\n", "`resize` must have a `url` such as"),
        ("[resize]\nurl = \"http://example.com\"\n", "`resize` has a `url` without TLS"),
        ("[resize]\nurl = \"https://example.com\"\nsecret = \"short\"\n", "`resize` must have a `secret`"),
        (
            "[resize]\nurl = \"https://example.com\"\nca_file = \"no.pem\"\n",
            "`resize` has a `ca_file` that cannot be used",
        ),
    ] {
        let project = Project::new();
        project.write("config/functions.toml", file);
        let refused = Ran::of(project.command().args(["task:start", "--port", "0"])).exits(1);
        assert!(refused.stderr.contains(says), "{says}: {refused:?}");
    }
}

#[test]
fn reload_reads_the_file_anew_and_keeps_the_old_process_when_it_is_wrong() {
    let project = project_with("");
    declare(&project, &[("say", "echo one", "")]);
    let mut daemon = Daemon::start(project, "");
    let say = |daemon: &Daemon| {
        let task = "{\"function\":\"say\",\"reply\":\"result\"}\n";
        daemon.client().send(task).json()["result"].take()
    };
    assert_eq!(say(&daemon), "one");
    daemon.project.write("config/functions.toml", "[functions.say]\ncommand = 7\n");
    let failed = daemon.think("task:reload").exits(1).stderr;
    assert!(failed.contains("config/functions.toml:2: `say` must be a command"), "{failed}");
    assert_eq!(say(&daemon), "one");
    declare(&daemon.project, &[("say", "echo two", "")]);
    daemon.think("task:reload").exits(0);
    daemon.follow_reload();
    assert_eq!(say(&daemon), "two");
}

#[test]
fn readme_shows_functions_that_run() {
    installed();
    let project = Project::new();
    project.write("config/functions.toml", &blocks("toml config/functions.toml")[0]);
    fs::create_dir(project.path("jobs")).unwrap();
    project.write("jobs/resize.php", &blocks("php jobs/resize.php")[0]);
    let server = Server::with(project, "");
    let sent = server.think(&["task:send", "resize", "{\"width\":21}", "--wait"]).exits(0).stdout;
    assert_eq!(sent.lines().last(), Some("{\"width\":42}"));
}

#[test]
fn openapi_document_has_declared_and_registered_functions_with_their_schemas() {
    let schema = "schema = { type = \"object\", required = [\"width\"] }";
    let server = server_of(&[("resize", "cat", schema)]);
    let mut worker = server.connect();
    let functions = json!([{"name": "thumbnail", "schema": {"type": "object", "required": ["height"]}}]);
    worker.send(format!("{}\n", json!({"command": "work", "worker": "w", "functions": functions}))).json();
    let document = curl(&server, &["/openapi.json"]).is(200).json();
    for (function, field) in [("resize", "width"), ("thumbnail", "height")] {
        let body = &document["paths"][format!("/tasks/{function}")]["post"]["requestBody"];
        assert_eq!(body["content"]["application/json"]["schema"]["required"], json!([field]), "{body}");
        assert_eq!(body["required"], true, "{body}");
        curl(&server, &["--json", "{}", &format!("/tasks/{function}")]).is(422);
    }
}
