//! The files that `make:*` writes: they compile as they are.

mod monitoring;
mod new_project;
mod report_daily;
mod resize_image;
mod workers;

use crate::harness::Project;

#[test]
fn make_command_writes_and_registers_a_file() {
    let project = Project::new();
    project.write("app/main.rs", "mod command;\n\nfn main() {}\n");
    let ran = project.think("make:command report:daily").exits(0);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    assert_eq!(project.read("app/command/report_daily.rs"), include_str!("make/report_daily.rs"));
    assert_eq!(project.read("app/command.rs"), "//! The commands of this program.\n\nmod report_daily;\n");
    project.think("make:command greet").exits(0);
    assert!(project.read("app/command.rs").ends_with("\nmod greet;\nmod report_daily;\n"));
}

#[test]
fn make_task_writes_and_registers_a_file() {
    let project = Project::new();
    let ran = project.think("make:task resize_image").exits(0);
    assert!(ran.stderr.contains("add `mod task;`"), "{}", ran.stderr);
    assert_eq!(project.read("app/task/resize_image.rs"), include_str!("make/resize_image.rs"));
    assert_eq!(project.read("app/task.rs"), "//! The tasks of this program.\n\nmod resize_image;\n");
}

#[test]
fn make_overwrites_only_with_force() {
    let project = Project::new();
    project.think("make:command greet").exits(0);
    project.write("app/command/greet.rs", "mine");
    let ran = project.think("make:command greet").exits(1);
    assert!(ran.stderr.contains("app/command/greet.rs") && ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(project.read("app/command/greet.rs"), "mine");
    project.think("make:command greet --force").exits(0);
    assert!(project.read("app/command/greet.rs").contains("struct Greet"));
    assert_eq!(project.read("app/command.rs").matches("mod greet;").count(), 1);
}

#[test]
fn make_rejects_invalid_names() {
    let project = Project::new();
    assert!(project.think("make:command Report").exits(2).stderr.contains("demo:hello"));
    assert!(project.think("make:task ../evil").exits(2).stderr.contains("send_mail"));
    assert!(!project.path("app/command").exists() && !project.path("app/task").exists());
}

#[test]
fn make_refuses_a_name_that_the_program_has_already() {
    let project = Project::new();
    for (command, said) in [
        ("make:command list", "there is a command \"list\" already, at commands/src/list.rs:"),
        ("make:command task:start --force", "there is a command \"task:start\" already"),
        ("make:command demo:hello", "at app/command/hello.rs:"),
        ("make:task echo", "there is a task \"echo\" already, at app/task/echo.rs:"),
    ] {
        let ran = project.think(command).exits(1);
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    assert!(!project.path("app/command").exists() && !project.path("app/task").exists());
    project.think("make:task echo --force").exits(0);
}
