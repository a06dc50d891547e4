//! A damaged row in the queue's file: its task is set aside, and everything else runs.

use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::json;

use crate::harness::Project;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

/// What happens to the rows of the tasks 1 to 6.
const DAMAGE: [&str; 6] = [
    "args = CAST(x'22ff22' AS TEXT)",
    "options = '{'",
    "queue = CAST(x'64ff' AS TEXT)",
    "function = CAST(x'65ff' AS TEXT)",
    "priority = 99",
    "args = x'22ff22'",
];

/// Stops a server, and returns its project.
fn stopped(mut server: Server) -> Project {
    server.signal(Signal::TERM);
    server.exit_code();
    std::mem::replace(&mut server.project, Project::new())
}

/// A project whose paused queue has eight tasks, of which all but the first and the last are damaged.
fn damaged_project() -> Project {
    let server = Server::with_settings("task_threads = 1");
    server.think(&["queue:pause", "default"]).exits(0);
    let mut client = server.connect();
    for task in 0..8 {
        let options = if task == 2 { ",\"attempts\":3" } else { "" };
        let request = format!("{{\"function\":\"echo\",\"args\":\"{task}\"{options}}}\n");
        assert_eq!(client.send(request).json()["task_id"], task);
    }
    drop(client);
    let project = stopped(server);
    let file = Connection::open(project.path("runtime/queue.db")).unwrap();
    for (index, damage) in DAMAGE.iter().enumerate() {
        file.execute(&format!("UPDATE tasks SET {damage} WHERE id = {}", index + 1), []).unwrap();
    }
    project
}

#[test]
fn damaged_task_is_set_aside_and_stops_no_other() {
    let server = Server::with(damaged_project(), "");
    let listed = server.think(&["task:list", "--json"]).exits(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 8, "{listed}");
    server.think(&["task:show", "1"]).exits(0);
    server.think(&["task:cancel", "6"]).exits(0);
    server.think(&["queue:resume", "default"]).exits(0);
    wait_until("every task has ended", || server.ledger()["waiting"] == 0);
    let ledger = server.ledger();
    assert_eq!((&ledger["done"], &ledger["failed"], &ledger["cancelled"]), (&json!(2), &json!(5), &json!(1)));
    for task in 1..6 {
        let details = server.think(&["task:show", &task.to_string(), "--json"]).exits(0).json();
        let error = details["error"].as_str().unwrap_or_default();
        assert!(details["state"] == "failed" && error.contains("is damaged"), "{details}");
    }
    let project = stopped(server);
    let file = Connection::open(project.path("runtime/queue.db")).unwrap();
    let kept: Vec<u8> =
        file.query_row("SELECT CAST(args AS BLOB) FROM tasks WHERE id = 1", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, b"\"\xff\"", "its bytes are kept");
}

#[test]
fn queue_check_names_damaged_tasks_and_queue_repair_keeps_them() {
    let project = damaged_project();
    let check = |code| {
        let ran = project.think("queue:check").exits(code);
        for task in 1..7 {
            assert!(ran.stdout.contains(&format!("task {task} is damaged")), "{ran:?}");
        }
    };
    check(1);
    let ran = project.think("queue:repair --json").exits(1);
    assert_eq!(ran.json()["findings"].as_array().unwrap().len(), 6, "{ran:?}");
    assert!(ran.stderr.contains("stays damaged"), "{ran:?}");
    check(1);
    let server = Server::with(project, "");
    server.think(&["queue:resume", "default"]).exits(0);
    wait_until("every task has ended", || server.ledger()["waiting"] == 0);
    assert_eq!(server.ledger()["done"], 2);
}

#[test]
fn queue_repair_keeps_keys_and_schedules_and_is_in_order() {
    let server = Server::start();
    let keyed = "{\"function\":\"echo\",\"args\":\"x\",\"key\":\"k\",\"delay\":\"1h\"}\n";
    assert_eq!(server.connect().send(keyed).json()["task_id"], 0);
    let project = stopped(server);
    let count = |project: &Project| {
        let file = Connection::open(project.path("runtime/queue.db")).unwrap();
        let count = |table: &str| {
            file.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
        };
        (count("keys"), count("schedules"))
    };
    let file = Connection::open(project.path("runtime/queue.db")).unwrap();
    file.execute_batch("INSERT INTO schedules VALUES ('nightly', 1, 2, 0, 0); DELETE FROM ends").unwrap();
    file.execute_batch("INSERT INTO ends (task, state, ended_ms) VALUES (0, 'melted', 1)").unwrap();
    drop(file);
    project.think("queue:check").exits(1);
    project.think("queue:repair").exits(0);
    project.think("queue:check").exits(0);
    assert_eq!(count(&project), (1, 1));
    // The key is also in the options of its task.
    let file = Connection::open(project.path("runtime/queue.db")).unwrap();
    file.execute("DELETE FROM keys", []).unwrap();
    drop(file);
    project.think("queue:repair").exits(0);
    assert_eq!(count(&project), (1, 1));
}

#[test]
fn queue_repair_keeps_a_change_that_was_under_way() {
    let project = damaged_project();
    let file = Connection::open(project.path("runtime/queue.db")).unwrap();
    // A flush of the first four tasks, which an earlier process had begun.
    file.execute_batch("INSERT INTO changes (id, kind, after, before) VALUES (1, 'flush', -1, 4)").unwrap();
    drop(file);
    let ran = project.think("queue:repair --json").exits(1);
    assert_eq!(ran.json()["saved"]["changes"], 1, "{ran:?}");
    let server = Server::with(project, "");
    wait_until("the flush goes on", || server.ledger()["cancelled"] == 4);
    // Without the table, as earlier versions have written it, there is nothing to save.
    let project = stopped(server);
    let file = Connection::open(project.path("runtime/queue.db")).unwrap();
    file.execute_batch("DROP TABLE changes").unwrap();
    drop(file);
    let ran = project.think("queue:repair --json").exits(1);
    assert_eq!(ran.json()["unread"], json!([]), "{ran:?}");
}

#[test]
fn repair_that_was_interrupted_is_finished_before_a_server_starts() {
    let server = Server::start();
    server.think(&["task:send", "echo", "\"x\"", "--delay", "1h"]).exits(0);
    let project = stopped(server);
    // The new file is complete, and the old one is still in its place.
    let (queue, new) = (project.path("runtime/queue.db"), project.path("runtime/queue.db.repaired"));
    std::fs::copy(&queue, &new).unwrap();
    let ran = project.think("task:start --port 0").exits(1);
    assert!(ran.stderr.contains("queue:repair"), "{ran:?}");
    let ran = project.think("queue:repair --json").exits(0);
    assert_eq!(ran.json()["saved"]["tasks"], 1, "{ran:?}");
    assert!(!new.exists() && project.path("runtime/queue.db.damaged-1").exists());
    let server = Server::with(project, "");
    assert_eq!(server.ledger()["waiting"], 1);
}

/// A project in which workers have registered three functions, of which the second and the third are damaged.
fn damaged_functions() -> Project {
    let server = Server::start();
    let functions =
        json!([{"name": "resize", "schema": {"type": "object"}}, {"name": "pay"}, {"name": "crop"}]);
    let work = json!({"command": "work", "worker": "w", "functions": functions});
    let reply = server.connect().send(format!("{work}\n")).json();
    assert_eq!(reply["status"], "ok", "{reply}");
    let project = stopped(server);
    let file = Connection::open(project.path("runtime/queue.db")).unwrap();
    file.execute("UPDATE functions SET registration = '{\"name\":' WHERE name = 'pay'", []).unwrap();
    file.execute("UPDATE functions SET registration = x'ff00', seen_ms = 'x' WHERE name = 'crop'", [])
        .unwrap();
    project
}

#[test]
fn damaged_function_of_workers_is_set_aside_and_named() {
    let project = damaged_functions();
    let ran = project.think("queue:check").exits(1);
    assert!(ran.stdout.contains("the function \"pay\" of workers is damaged"), "{ran:?}");
    assert!(ran.stdout.contains("the function \"crop\" of workers is damaged"), "{ran:?}");
    assert!(!ran.stdout.contains("resize"), "{ran:?}");
    project.write("config/server.toml", "log_file = \"server.log\"\n");
    let server = Server::with(project, "");
    for name in ["pay", "crop"] {
        wait_until("the log names it", || {
            let log = server.project.read("server.log");
            log.lines().any(|line| line.contains("set aside") && line.contains(name))
        });
    }
    let mut client = server.connect();
    assert_eq!(client.send("{\"function\":\"resize\",\"args\":1}\n").json()["code"], "bad_arguments");
    assert_eq!(client.send("{\"function\":\"pay\"}\n").json()["code"], "unknown_function");
    let work = json!({"command": "work", "worker": "w", "functions": [{"name": "pay"}, {"name": "crop"}]});
    assert_eq!(server.connect().send(format!("{work}\n")).json()["status"], "ok");
    server.project.think("queue:check").exits(0);
}

#[test]
fn queue_repair_keeps_the_functions_of_workers() {
    let project = damaged_functions();
    let ran = project.think("queue:repair --json").exits(1).json();
    assert_eq!((&ran["saved"]["functions"], &ran["unread"]), (&json!(3), &json!([])), "{ran}");
    assert_eq!(ran["findings"].as_array().unwrap().len(), 2, "{ran}");
    let server = Server::with(project, "");
    let reply = server.connect().send("{\"function\":\"resize\",\"args\":1}\n").json();
    assert_eq!(reply["code"], "bad_arguments", "{reply}");
}
