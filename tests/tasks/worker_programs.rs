//! The programs of config/workers.toml: started, watched, started again, drained and ended with the server.

use std::fs;

use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::{Value, json};

use crate::harness::daemon::{Daemon, project_with};
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::process::install;
use crate::harness::readme::blocks;
use crate::harness::server::Server;
use crate::harness::{Project, Ran, installed, project_root};

/// A project whose server starts `program.sh`, with more keys of its table.
fn project_of(script: &str, keys: &str) -> Project {
    let project = Project::new();
    project.write("program.sh", script);
    project.write("config/workers.toml", &format!("[[workers]]\ncommand = \"sh program.sh\"\n{keys}"));
    project
}

/// What the server says of its first program.
#[track_caller]
fn first_program(server: &Server) -> Value {
    server.status()["programs"][0].clone()
}

/// The numbers that scripts have appended to `pids`, once there are so many.
#[track_caller]
fn pids(project: &Project, count: usize) -> Vec<Pid> {
    eventually("the programs have begun", || {
        let text = fs::read_to_string(project.path("pids")).ok()?;
        let pids: Vec<_> = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
        (pids.len() >= count && text.ends_with('\n')).then_some(pids)
    })
}

/// Whether a process is there; one that has ended and was not waited for is not.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}

#[track_caller]
fn all_end(pids: &[Pid]) {
    wait_until("the programs end", || !pids.iter().any(|pid| lives(*pid)));
}

#[test]
fn programs_in_three_languages_run_tasks_and_are_reported() {
    installed();
    let project = Project::new();
    let table = |program: &str, file: &str| {
        let file = project_root().join("tests/workers").join(file);
        format!("[[workers]]\ncommand = [\"{program}\", {file:?}]\n")
    };
    let tables = [
        table("php", "worker.php") + "count = 2\nname = \"images\"\n",
        table("python3", "worker.py"),
        table("node", "worker.mjs"),
    ];
    project.write("config/workers.toml", &tables.concat());
    let server = Server::with(project, "");
    for (function, args, result) in [
        ("resize", json!({"width": 21}), json!({"width": 42})),
        ("thumbnail", json!({"height": 84}), json!({"height": 42})),
        ("greet", json!({"name": "Ada"}), json!("Hello, Ada!")),
    ] {
        let line = format!("{}\n", json!({"function": function, "args": args, "reply": "result"}));
        let reply = eventually("the function is registered", || {
            let reply = server.connect().send(&line).json();
            (reply["code"] != "unknown_function").then_some(reply)
        });
        assert_eq!(reply["result"], result);
    }
    wait_until("all have joined", || {
        server.connect().send("{\"command\":\"workers\"}\n").json()["result"].as_array().unwrap().len() == 4
    });
    let program = first_program(&server);
    let expected = (&json!("images"), &json!(2), &json!(2), &json!(0), &Value::Null);
    let [name, count, running, restarts, end] = ["name", "count", "running", "restarts", "last_exit"];
    let found = (&program[name], &program[count], &program[running], &program[restarts], &program[end]);
    assert_eq!(found, expected);
    let shown = server.think(&["task:workers"]).exits(0).stdout;
    assert!(shown.contains("configured") && shown.contains("images"), "{shown}");
    let shown = server.think(&["task:status"]).exits(0).stdout;
    assert!(shown.contains("images: 2 of 2 run, 0 restarts"), "{shown}");
    let refused = server.think(&["task:workers", "--drain", "images"]).exits(5).stderr;
    assert!(refused.contains("images is a program, whose workers have names of their own"), "{refused}");
}

#[test]
fn readme_shows_programs_that_run() {
    installed();
    let project = Project::new();
    project.write("config/workers.toml", &blocks("toml config/workers.toml")[0]);
    project.write("worker.php", &blocks("php worker.php")[0]);
    let server = Server::with(project, "");
    wait_until("both have joined", || {
        server.think(&["task:workers"]).exits(0).stdout.matches("php/").count() == 2
    });
    let sent = server.think(&["task:send", "resize", "{\"width\":21}", "--wait"]).exits(0);
    assert_eq!(sent.stdout.lines().last(), Some("{\"width\":42}"));
}

/// A daemon that starts `program.sh`, with more keys of its table.
fn daemon_of(script: &str, keys: &str) -> Daemon {
    let project = project_with("");
    project.write("program.sh", script);
    project.write("config/workers.toml", &format!("[[workers]]\ncommand = \"sh program.sh\"\n{keys}"));
    Daemon::start(project, "")
}

/// The first line of the log with this in it.
#[track_caller]
fn log_line(daemon: &Daemon, text: &str) -> String {
    eventually(text, || {
        let log = daemon.project.read("runtime/server.log");
        log.lines().find(|line| line.contains(text)).map(str::to_owned)
    })
}

#[test]
fn program_that_ends_is_started_again_after_growing_pauses() {
    let daemon = daemon_of("exit 7", "name = \"hasty\"");
    for pause in ["100ms", "200ms", "400ms"] {
        let line = log_line(&daemon, &format!("(exit code 7) and is started again in {pause}"));
        assert!(line.contains("worker=\"hasty\""), "{line}");
    }
    let program = daemon.status()["programs"][0].take();
    assert_eq!(program["last_exit"], "exit code 7");
    assert!(program["restarts"].as_u64().unwrap() >= 2, "{program}");
}

#[test]
fn program_that_is_killed_says_by_which_signal() {
    let line = log_line(&daemon_of("kill -SEGV $$", ""), "the program has ended");
    assert!(line.contains("signal: 11"), "{line}");
}

#[test]
fn output_of_a_program_is_logged_escaped_and_within_bounds() {
    let script = "printf 'a \\033[31m line\\n'; echo sorry >&2\nhead -c 9000000 /dev/zero | tr '\\0' x; echo; echo last\nsleep 60";
    let daemon = daemon_of(script, "");
    let line = log_line(&daemon, " line");
    assert!(line.contains("a \\u{1b}[31m line") && line.contains("sh program.sh"), "{line}");
    let line = log_line(&daemon, "x..");
    assert!(line.len() < 5_000, "{} bytes", line.len());
    log_line(&daemon, "last");
    assert!(log_line(&daemon, "sorry").contains(" WARN "));
}

#[test]
fn program_has_its_directory_variables_and_no_secrets_of_the_server() {
    let script =
        "echo \"$THINK_SERVER $THINK_WORKER $APP_ENV $PWD ${THINK_SERVER_TOKENS:-none}\" > told; sleep 60";
    let project = project_of(script, "directory = \"sub\"\nenvironment = { APP_ENV = \"blue\" }\ncount = 2");
    fs::create_dir(project.path("sub")).unwrap();
    fs::rename(project.path("program.sh"), project.path("sub/program.sh")).unwrap();
    let root = project.path("").canonicalize().unwrap();
    let tokens = [("THINK_SERVER_TOKENS", "0123456789abcdef:admin")];
    let server = Server::with_environment(project, "", &tokens);
    let told = eventually("it has told", || {
        fs::read_to_string(server.project.path("sub/told")).ok().filter(|told| told.ends_with('\n'))
    });
    let socket = server.project.path("runtime/server.sock");
    assert!(told.starts_with(&format!("unix:{} sh program.sh#", socket.display())), "{told}");
    assert!(told.ends_with(&format!(" blue {}/sub none\n", root.display())), "{told}");
    let shown = server.project.think("config:show workers").exits(0).stdout;
    assert!(shown.contains("program.sh") && !shown.contains("blue"), "{shown}");
}

#[test]
fn programs_end_with_the_server_also_when_it_is_killed() {
    let script = "trap '' TERM INT HUP; echo $$ >> pids; while :; do sleep 0.1; done";
    let server = Server::with(project_of(script, "count = 3"), "");
    let pids = pids(&server.project, 3);
    assert!(pids.iter().all(|pid| lives(*pid)));
    server.signal(Signal::KILL);
    all_end(&pids);
}

#[test]
fn stop_asks_programs_to_end_and_kills_those_that_do_not() {
    let script = "trap 'echo asked >> asked; test -e stubborn || exit' TERM; echo $$ >> pids\nwhile :; do sleep 0.05; done";
    for is_stubborn in [false, true] {
        let project = project_of(script, "");
        if is_stubborn {
            project.write("stubborn", "");
        }
        let mut server = Server::with(project, "");
        let pids = pids(&server.project, 1);
        server.think(&["task:stop", "--grace", "1s"]).exits(0);
        assert_eq!(server.exit_code(), Some(0));
        all_end(&pids);
        assert_eq!(server.project.read("asked"), "asked\n");
    }
}

#[test]
fn stop_lets_a_program_end_its_task_before_it_asks_it_to_end() {
    installed();
    let project = Project::new();
    let worker = project_root().join("tests/workers/worker.py");
    // It has no time to say that it leaves: it ends at once.
    let script = format!(
        "exec python3 -c 'import signal, sys; sys.argv = [\"\"]; exec(open({worker:?}).read().replace(\"signal.signal(\", \"(lambda *_: None)(\"))'"
    );
    project.write("program.sh", &script);
    project.write("config/workers.toml", "[[workers]]\ncommand = \"sh program.sh\"\n");
    let mut server = Server::with(project, "");
    wait_until("it has joined", || server.think(&["task:workers"]).exits(0).stdout.contains("python/"));
    let mut client = server.connect();
    client.send("{\"function\":\"slow\",\"args\":{\"s\":1},\"reply\":\"result\"}\n");
    wait_until("it runs", || server.ledger()["running"] == 1);
    server.signal(Signal::TERM);
    assert_eq!(client.json()["status"], "done");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn reload_replaces_programs_and_loses_no_task() {
    const TASKS: usize = 300;
    installed();
    let worker = project_root().join("tests/workers/worker.php");
    let script = format!("echo $$ >> pids; exec php {}", worker.display());
    let project = project_with("");
    project.write("program.sh", &script);
    project.write("config/workers.toml", "[[workers]]\ncommand = \"sh program.sh\"\ncount = 2\n");
    let mut daemon = Daemon::start(project, "");
    wait_until("both have joined", || {
        daemon.think("task:workers").exits(0).stdout.matches("php/").count() == 2
    });
    let old = pids(&daemon.project, 2);
    let line = "{\"function\":\"pause\",\"args\":{\"ms\":2}}\n";
    for _ in 0..2 {
        let mut client = daemon.client();
        client.send(line.repeat(TASKS));
        (0..TASKS).for_each(|_| assert_eq!(client.json()["status"], "queued"));
        daemon.think("task:reload").exits(0);
        daemon.follow_reload();
    }
    let ledger = daemon.idle_ledger();
    assert_eq!((&ledger["done"], &ledger["failed"]), (&json!(2 * TASKS), &json!(0)));
    all_end(&old);
    assert_eq!(pids(&daemon.project, 6).len(), 6);
    daemon.think("task:stop").exits(0);
    daemon.wait();
    all_end(&pids(&daemon.project, 6));
}

#[test]
fn reload_with_a_wrong_file_keeps_the_programs_as_they_are() {
    let project = project_with("");
    project.write("program.sh", "echo $$ >> pids; sleep 60");
    project.write("config/workers.toml", "[[workers]]\ncommand = \"sh program.sh\"\n");
    let daemon = Daemon::start(project, "");
    let old = pids(&daemon.project, 1);
    daemon.project.write("config/workers.toml", "[[workers]]\ncommand = \"sh 'program.sh\"\n");
    let failed = daemon.think("task:reload").exits(1).stderr;
    assert!(
        failed.contains("config/workers.toml:2: `workers` has a command whose quote ' is not closed"),
        "{failed}"
    );
    assert!(lives(old[0]));
    assert_eq!(pids(&daemon.project, 1), old);
}

#[test]
fn wrong_settings_of_programs_are_refused_with_their_place() {
    for (file, says) in [
        (
            "[[workers]]\ncomand = \"php worker.php\"\n",
            "config/workers.toml:2: `workers` has no setting `comand`; did you mean `command`?",
        ),
        (
            "[[worker]]\ncommand = \"php worker.php\"\n",
            "config/workers.toml:1: `worker` is not a setting; did you mean `workers`?",
        ),
        ("\n[[workers]]\ncount = 2\n", "config/workers.toml:2: `workers` number 1: must have a `command`"),
        (
            "[[workers]]\ncommand = \"php a | tee b\"\n",
            "config/workers.toml:2: `workers` has a command with `|`, which is for a shell",
        ),
        (
            "[[workers]]\ncommand = \"php a\"\ncount = -1\n",
            "config/workers.toml:3: `workers` must be a whole number",
        ),
    ] {
        let project = Project::new();
        project.write("config/workers.toml", file);
        let refused = Ran::of(project.command().args(["task:start", "--port", "0"])).exits(1);
        assert!(refused.stderr.contains(says), "{says}: {refused:?}");
    }
    let project = project_of("", "");
    project.write("config/server.toml", "control_socket = \"\"\n");
    let refused = Ran::of(project.command().args(["task:start", "--port", "0"])).exits(1);
    assert!(refused.stderr.contains("connect to the `control_socket`"), "{refused:?}");
}

#[test]
fn program_that_cannot_be_started_is_said_once_and_tried_again() {
    let project = project_with("");
    project.write("config/workers.toml", "[[workers]]\ncommand = \"./later.sh\"\n");
    let daemon = Daemon::start(project, "");
    let line = log_line(&daemon, "cannot be started");
    assert!(line.contains("./later.sh: No such file"), "{line}");
    wait_until("it was tried again", || daemon.status()["programs"][0]["restarts"].as_u64() >= Some(2));
    assert_eq!(daemon.project.read("runtime/server.log").matches("cannot be started").count(), 1);
    let shown = daemon.think("task:workers").exits(0).stdout;
    assert!(shown.contains("cannot be started: ./later.sh"), "{shown}");
    daemon.project.write("sleep.sh", "#!/bin/sh\nsleep 60\n");
    install(&daemon.project.path("sleep.sh"), &daemon.project.path("later.sh"));
    log_line(&daemon, "the program has begun");
    assert_eq!(daemon.status()["programs"][0]["error"], Value::Null);
}
