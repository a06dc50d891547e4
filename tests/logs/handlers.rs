//! The output of handlers of a server in the background, which goes to the log.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

// Its `task:start` is the one that runs here.
use commands as _;
use framework::console::{Console, Tester};
use framework::log::tracing;
use framework::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::is_end;
use crate::harness::client::Client;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::process::{kill, wait};
use crate::harness::{Project, project_root};

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_prints")]
struct Prints(String);

impl Handle for Prints {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        let Self(text) = self;
        tracing::warn!(size = text.len(), "traced {text}");
        io::stdout().write_all(format!("printed {text}\n").as_bytes())?;
        io::stderr().write_all(format!("complained {text}\n").as_bytes())?;
        let shell =
            Command::new("sh").args(["-c", "echo \"called $0\"; echo \"cried $0\" >&2", &text]).status()?;
        ensure!(shell.success(), "the shell has failed");
        Ok(())
    }
}

/// The server in the background with the handlers of the tests, in the directory that it is started in.
#[test]
#[ignore = "a server for other tests; does nothing by itself"]
fn server_process() {
    let root = std::env::current_dir().unwrap();
    if root != project_root() {
        Tester::new(Console::new()).root(root).run("task:start --detached").assert_success();
    }
}

struct Program {
    project: Project,
    child: Child,
    address: String,
}

impl Program {
    fn start(settings: &str) -> Self {
        let project = Project::new();
        project.write("config/server.toml", &format!("port = 0\napp_log = false\n{settings}"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "logs::handlers::server_process", "--ignored", "--nocapture"]);
        command
            .current_dir(project.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut program = Self { project, child: command.spawn().unwrap(), address: String::new() };
        // Its streams are the log as soon as it is ready.
        let stderr = PathBuf::from(format!("/proc/{}/fd/2", program.child.id()));
        wait_until("the server logs", || {
            assert!(program.child.try_wait().unwrap().is_none(), "it has ended");
            std::fs::read_link(&stderr).unwrap() == program.project.path("runtime/server.log")
        });
        let log = program.log();
        let (_, rest) = log.split_once("listens on ").unwrap();
        program.address = rest.split_once(" with pid ").unwrap().0.to_owned();
        program
    }

    fn log(&self) -> String {
        self.project.read("runtime/server.log")
    }

    /// Runs the task, and reads the log up to the line of its end.
    fn run(&self, function: &str, args: Value) -> (Value, String) {
        let request = json!({ "function": function, "args": args, "attempts": 1, "reply": "result" });
        let answer = Client::connect(&self.address).send(format!("{request}\n")).json();
        let id = answer["task_id"].to_string();
        let log = eventually("the end of the task is logged", || {
            let log = self.log();
            log.lines().any(|line| is_end(line, &id)).then_some(log)
        });
        (answer, log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

#[test]
fn log_has_what_handlers_print_and_trace() {
    let mut program = Program::start("");
    let (answer, log) = program.run("test_prints", json!("something"));
    assert_eq!(answer["status"], "done", "{answer}");
    for line in ["printed something", "complained something", "called something", "cried something"] {
        assert!(log.lines().any(|there| there == line), "{line}: {log}");
    }
    let traced = log.lines().find(|line| line.contains("traced something")).unwrap();
    assert!(traced.contains("  WARN handlers: ") && traced.ends_with(" size=9 task=0"), "{traced}");
    program.project.think("task:stop").exits(0);
    assert!(wait(&mut program.child).success());
    assert!(program.log().contains("All tasks have ended"));
}

#[test]
fn log_has_a_handler_panic_on_one_line() {
    let program = Program::start("");
    for (id, function) in ["test_panic", "test_blocking_panic"].into_iter().enumerate() {
        let (answer, log) = program.run(function, json!("an ugly\nend"));
        assert_eq!(answer["status"], "failed", "{answer}");
        let line = log.lines().find(|line| line.contains("ERROR") && line.ends_with(&format!("task={id}")));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        assert!(
            line.contains("panic at tests/tasks/worker/handlers.rs:") && line.contains("an ugly\\nend"),
            "{line}"
        );
    }
    assert_eq!(program.run("test_prints", json!("x")).0["status"], "done", "it serves on");
}

#[test]
fn log_json_has_a_handler_panic_as_an_object() {
    let program = Program::start("log_format = \"json\"\n");
    let (_, log) = program.run("test_panic", json!("an \"ugly\"\n\u{1b}end"));
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let panic = lines.iter().find(|line| line["level"] == "ERROR").unwrap();
    assert_eq!(panic["task"], 0);
    assert!(panic["message"].as_str().unwrap().ends_with("an \"ugly\"\n\u{1b}end"), "{panic}");
}
