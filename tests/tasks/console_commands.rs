//! Commands of the program as tasks, each run by a process of its own.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::server::Server;

/// A server whose settings let more commands run as tasks.
fn server(more: &str) -> Server {
    let settings =
        format!("queueable_commands = [{more}]\nworker_cancel_time = \"1s\"\nmin_retry_pause = \"1ms\"\n");
    Server::with(Project::with_settings(&settings), "")
}

/// The details of a task once it has ended.
#[track_caller]
fn ended(server: &Server, id: &str) -> Value {
    eventually("the task ends", || {
        let task = server.think(&["task:show", id.trim(), "--json"]).exits(0).json();
        matches!(task["state"].as_str(), Some("done" | "failed" | "cancelled")).then_some(task)
    })
}

/// The texts of a task's log.
fn log(task: &Value) -> Vec<&str> {
    task["log"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect()
}

/// The processes of this server that run a command with these words.
fn processes(server: &Server, words: &str) -> usize {
    let children = format!("/proc/{}/task", server.pid());
    let threads = std::fs::read_dir(children).unwrap().flatten();
    let pids = threads.flat_map(|thread| {
        let pids = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        pids.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    });
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(words)
    })
    .count()
}

#[test]
fn command_runs_as_a_task_whose_log_is_its_output() {
    let server = server("");
    let id = server.think(&["task:send", "--command", "demo:show --pause '1ms'"]).exits(0).stdout;
    let task = ended(&server, &id);
    assert_eq!(
        (&task["state"], &task["function"], &task["result"]),
        (&json!("done"), &json!("command"), &Value::Null)
    );
    let log = log(&task);
    assert!(log.contains(&"info comment question highlight"), "no colours, and stdout: {log:?}");
    assert!(log.iter().any(|line| line.contains("resized")), "stderr, too: {log:?}");
    let waited = server.think(&["task:send", "command", "demo:show", "--wait"]).exits(0).stdout;
    assert_eq!(waited, "1\nnull\n");
}

#[test]
fn command_that_may_not_run_as_a_task_is_refused_before_it_is_queued() {
    let server = server("\"task:show\"");
    for (line, says) in [
        ("task:stop", "The command task:stop does not run as a task: its code has to say QUEUEABLE"),
        ("demo:shwo", "demo:show"),
        ("demo:show 'x", "quote ' is not closed"),
        ("demo:show > file", "is for a shell"),
        ("", "without a program"),
    ] {
        let ran = server.think(&["task:send", "--command", line]).exits(5);
        assert!(ran.stderr.contains(says), "{line}: {ran:?}");
    }
    assert_eq!(server.ledger()["accepted"], 0);
    let ran = server.think(&["task:send", "echo", "--command", "demo:show"]).exits(2);
    assert!(ran.stderr.contains("--command"), "{ran:?}");
}

#[test]
fn exit_code_of_a_command_decides_whether_its_task_is_done() {
    let server = server("\"task:show\"");
    let send = |line: &str| {
        let id = server.think(&["task:send", "--command", line, "--attempts", "2"]).exits(0).stdout;
        ended(&server, &id)
    };
    let failed = send("task:show 999");
    assert_eq!(
        (&failed["state"], failed["history"].as_array().unwrap().len()),
        (&json!("failed"), 2),
        "{failed}"
    );
    let error = failed["error"].as_str().unwrap();
    assert!(error.starts_with("exit code 5: error: There is no task 999"), "{error}");
    let wrong = send("task:show --no-such-option");
    assert_eq!(
        (&wrong["state"], wrong["history"].as_array().unwrap().len()),
        (&json!("failed"), 1),
        "{wrong}"
    );
    assert!(
        wrong["error"].as_str().unwrap().starts_with("exit code 2: error: unexpected argument"),
        "{wrong}"
    );
    assert_eq!(send("task:show 0")["state"], "done");
}

#[test]
fn cancel_and_timeout_end_the_process_of_a_command() {
    let server = server("");
    let slow = "demo:show --pause 20s";
    let id = server.think(&["task:send", "--command", slow]).exits(0).stdout;
    wait_until("the command runs", || processes(&server, slow) == 1);
    server.think(&["task:cancel", id.trim()]).exits(0);
    assert_eq!(ended(&server, &id)["state"], "cancelled");
    assert_eq!(processes(&server, slow), 0);

    let id = server.think(&["task:send", "--command", slow, "--timeout", "200ms"]).exits(0).stdout;
    let task = ended(&server, &id);
    assert!(task["state"] == "failed" && task["error"].as_str().unwrap().contains("200ms"), "{task}");
    assert_eq!(processes(&server, slow), 0);
}

#[test]
fn schedule_of_a_command_runs_it_at_its_times() {
    let project = Project::new();
    project.write(
        "config/schedule.toml",
        "[show]\ncommand = \"demo:show --pause 1ms\"\ncron = \"* * * * * *\"\n",
    );
    let server = Server::with(project, "");
    let id = eventually("the schedule makes a task", || {
        let listed = server.think(&["schedule:list", "--json"]).exits(0).json();
        listed[0]["last_task_id"].as_u64()
    });
    let task = ended(&server, &id.to_string());
    assert!(task["state"] == "done" && log(&task).contains(&"info comment question highlight"), "{task}");
    let listed = server.think(&["schedule:list"]).exits(0).stdout;
    assert!(listed.contains("demo:show --pause 1ms"), "{listed}");

    for (schedule, says) in [
        ("command = \"task:stop\"", "`show` makes no task: The command task:stop does not run as a task"),
        ("command = \"demo:show\"\nargs = 1", "`show` has a `command`, and a `function` or `args` as well"),
        ("command = \"demo:shwo\"", "demo:show"),
    ] {
        server.project.write("config/schedule.toml", &format!("[show]\n{schedule}\ncron = \"@daily\"\n"));
        let ran = server.think(&["schedule:list"]).exits(1);
        assert!(ran.stderr.contains("config/schedule.toml:") && ran.stderr.contains(says), "{ran:?}");
    }
}

#[test]
fn schedule_list_names_functions_that_nobody_has_registered_before_they_are_due() {
    let project = Project::new();
    project.write("config/schedule.toml", "[thumbs]\nfunction = \"resize_image\"\ncron = \"@yearly\"\n");
    let server = Server::with(project, "");
    let says =
        "The schedule \"thumbs\" makes no task before a worker registers the function \"resize_image\"";
    assert!(server.think(&["schedule:list"]).exits(0).stderr.contains(says));
    server.signal(Signal::TERM);
    let project = server.into_project();
    assert!(project.think("schedule:list").exits(0).stderr.contains(says), "without a server, too");
}
