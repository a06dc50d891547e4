//! What the README shows is what happens.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::server::{Server, lines_of};
use crate::harness::{Project, Ran, house, installed};

fn readme() -> String {
    std::fs::read_to_string(house().join("README.md")).unwrap()
}

/// The fenced blocks of one language.
pub(crate) fn blocks(language: &str) -> Vec<String> {
    let readme = readme();
    let parts = readme.split("\n```").collect::<Vec<_>>();
    let bodies = parts.iter().skip(1).step_by(2);
    bodies.filter_map(|block| block.strip_prefix(&format!("{language}\n"))).map(str::to_owned).collect()
}

#[test]
fn the_terminal_sessions_go_as_shown() {
    installed();
    let project = Project::new();
    project.write("config/server.toml", "default_function = \"send_mail\"\nmoments = false\n");
    let server = Server::with(project, "");
    let mut commands = 0;
    for block in blocks("console") {
        let steps = block.split("$ ").filter(|step| !step.trim().is_empty());
        for step in steps {
            let (command, shown) = step.split_once('\n').unwrap_or((step, ""));
            match command.strip_prefix("telnet ") {
                Some(_) => converse(&server, shown),
                None => run(&server, command, shown),
            }
            commands += 1;
        }
    }
    assert!(commands > 5, "only {commands} commands were found");
}

/// Runs a command line in a shell; what is shown under it has to come, all of it.
fn run(server: &Server, command: &str, shown: &str) {
    let program = env!("CARGO_BIN_EXE_think");
    let (_, port) = server.address.rsplit_once(':').unwrap();
    let quick =
        command.replace("task:bench", "task:bench -t 100ms").replace("127.0.0.1:9501", &server.address);
    let ran = Ran::of(
        Command::new("sh")
            .args(["-c", &quick.replacen("./think", program, 1)])
            .current_dir(server.project.path(""))
            .env("THINK_ROOT", server.project.path(""))
            .env("THINK_SERVER_PORT", port),
    )
    .exits(0);
    if !shown.trim().is_empty() {
        assert_eq!(ran.stdout, shown.trim_end().to_owned() + "\n", "{command}");
    }
}

/// Types what a person types, and reads the answers in between.
fn converse(server: &Server, shown: &str) {
    let (host, port) = server.address.rsplit_once(':').unwrap();
    let mut telnet = Command::new("telnet");
    telnet.args([host, port]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut telnet = telnet.spawn().unwrap();
    let said = lines_of(telnet.stdout.take().unwrap());
    // What telnet says itself, until it is through.
    said.iter().find(|line| line.starts_with("Escape character")).unwrap();
    for line in shown.lines() {
        let is_answer =
            ["Message from", "{\"id\"", "{\"status\""].iter().any(|start| line.starts_with(start));
        match is_answer {
            true => assert_eq!(said.recv().unwrap(), line),
            false => writeln!(telnet.stdin.as_ref().unwrap(), "{line}").unwrap(),
        }
    }
    drop(telnet.stdin.take());
    telnet.wait().unwrap();
}

#[test]
fn the_command_it_teaches_is_the_one_in_app() {
    let source = std::fs::read_to_string(house().join("app/command/hello.rs")).unwrap();
    let (_, code) = source.split_once("\n\n").unwrap();
    assert!(blocks("rust").iter().any(|block| block.trim_end() == code.trim_end()), "{code}");
}

#[test]
fn its_test_command_is_the_one_of_the_check() {
    let check = std::fs::read_to_string(house().join(".ci/run")).unwrap();
    assert!(blocks("sh").iter().any(|block| block.trim() == "cargo test --workspace"));
    assert!(check.lines().any(|line| line.trim() == "cargo test --workspace"), "{check}");
}

#[test]
fn every_setting_it_names_exists() {
    let shown = Project::new().think("config:show server").exits(0).stdout;
    let readme = readme();
    let row = readme.lines().find(|line| line.contains("settings that keep their name")).unwrap();
    let names = row.split('`').skip(1).step_by(2);
    for name in names {
        assert!(
            shown.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
            "{name}\n{shown}"
        );
    }
}
