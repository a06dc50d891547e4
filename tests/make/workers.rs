//! The workers in other languages that `make:worker` writes run as they are, and so do their tests.

use serde_json::json;

use crate::harness::eventually::{eventually, wait_until};
use crate::harness::server::Server;
use crate::harness::{Project, Ran, installed};

#[test]
fn make_worker_writes_workers_that_run() {
    installed();
    let project = Project::new();
    let mut tables = String::new();
    for (language, program, file) in
        [("php", "php", "a.php"), ("python", "python3", "b.py"), ("node", "node", "c.mjs")]
    {
        let name = &file[..1];
        let made = project.think(&format!("make:worker {language} {name}")).exits(0);
        assert!(made.stderr.contains(&format!("Wrote workers/{file}.")), "{made:?}");
        tables += &format!("[[workers]]\ncommand = \"{program} workers/{file}\"\n");
    }
    project.write("config/workers.toml", &tables);
    let server = Server::with(project, "");
    for function in ["a", "b", "c"] {
        let args = json!({"text": "it's \\ \"quoted\"", "number": 7});
        let line = format!("{}\n", json!({"function": function, "args": args, "reply": "result"}));
        let end = eventually("the function is registered", || {
            Some(server.connect().send(&line).json()).filter(|end| end["code"] != "unknown_function")
        });
        assert_eq!(end["result"], args, "{end}");
    }
    server.think(&["task:stop"]).exits(0);
}

#[test]
fn make_worker_writes_a_test_that_passes_until_the_worker_is_wrong() {
    installed();
    let server = Server::start();
    let mut worker = server.connect();
    let schema = json!({
        "type": "object",
        "properties": {"it's": {"const": "\\ \"quoted\""}, "width": {"type": "integer", "minimum": 2}},
        "required": ["it's", "width"],
    });
    let work = json!({"command": "work", "worker": "first", "credit": 1, "functions": [{"name": "resize", "schema": schema}]});
    assert_eq!(worker.send(format!("{work}\n")).json()["status"], "ok");
    for (language, program, extension, returned) in [
        ("php", &["php"][..], "php", "return $args;"),
        ("python", &["python3"], "py", "return args"),
        ("node", &["node", "--test"], "mjs", "return args"),
    ] {
        let made = server.think(&["make:worker", language, "resize"]).exits(0);
        let test = format!("workers/resize_test.{extension}");
        assert!(made.stderr.contains(&format!("Test it by `{} {test}`.", program.join(" "))), "{made:?}");
        assert!(server.project.read(&test).contains("quoted"));
        let run = || {
            let mut command = server.project.command_by(program[0]);
            Ran::of(command.args(&program[1..]).arg(&test))
        };
        run().exits(0);
        let file = format!("workers/resize.{extension}");
        let wrong = server.project.read(&file).replace(returned, "return 7;");
        server.project.write(&file, &wrong);
        assert_eq!(run().code, Some(1), "{language}");
    }
}

#[test]
fn make_worker_takes_the_schema_that_a_server_knows() {
    installed();
    let schema =
        json!({"type": "object", "properties": {"it's": {"pattern": "^\\d\"$"}}, "description": "ü"});
    for (language, program, file) in
        [("php", "php", "resize.php"), ("python", "python3", "resize.py"), ("node", "node", "resize.mjs")]
    {
        let server = Server::start();
        let mut worker = server.connect();
        let work = json!({"command": "work", "worker": "first", "credit": 1, "functions": [{"name": "resize", "schema": schema}]});
        assert_eq!(worker.send(format!("{work}\n")).json()["status"], "ok");
        server.think(&["make:worker", language, "resize"]).exits(0);
        // Another schema would be refused while the first worker is there.
        let mut command = server.project.command_by(program);
        let mut second = command.args([&format!("workers/{file}"), &server.address]).spawn().unwrap();
        wait_until("the second has joined", || {
            server.connect().send("{\"command\":\"workers\"}\n").json()["result"].as_array().unwrap().len()
                == 2
        });
        crate::harness::process::kill(&mut second);
    }
}

#[test]
fn make_worker_overwrites_only_with_force_and_no_function_of_the_server() {
    let server = Server::start();
    server.think(&["make:worker", "php", "mine"]).exits(0);
    server.project.write("workers/mine.php", "mine");
    let refused = server.think(&["make:worker", "php", "mine"]).exits(1).stderr;
    assert!(refused.contains("workers/mine.php") && refused.contains("--force"), "{refused}");
    assert_eq!(server.project.read("workers/mine.php"), "mine");
    server.think(&["make:worker", "php", "mine", "--force"]).exits(0);
    let refused = server.think(&["make:worker", "node", "echo"]).exits(1).stderr;
    assert!(refused.contains("the server runs \"echo\" itself (app/task/echo.rs:"), "{refused}");
    for name in ["../evil", "Resize", ".x", ""] {
        server.think(&["make:worker", "php", name]).exits(2);
    }
    assert!(server.think(&["make:worker", "ruby", "mine"]).exits(2).stderr.contains("python"));
}
