//! The README: its commands and examples do what it shows.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::harness::lines::Lines;
use crate::harness::process::wait;
use crate::harness::readme::{blocks, readme};
use crate::harness::server::Server;
use crate::harness::{Project, Ran, installed, project_root};

#[test]
fn readme_console_sessions_run_as_shown() {
    installed();
    let project = Project::new();
    project.write("config/server.toml", "default_function = \"send_mail\"\napp_log = false\n");
    let server = Server::with(project, "");
    let mut commands = 0;
    for block in blocks("console") {
        let steps = block.split("$ ").filter(|step| !step.trim().is_empty());
        for step in steps {
            let (command, shown) = step.split_once('\n').unwrap_or((step, ""));
            match command.strip_prefix("telnet ") {
                Some(_) => run_telnet(&server, shown),
                None => run(&server, command, shown),
            }
            commands += 1;
        }
    }
    assert!(commands > 5, "only {commands} commands were found");
}

/// Runs a command line in a shell; its output has to be what is shown, if anything is.
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

/// Types the requests of a telnet session, and compares the replies.
fn run_telnet(server: &Server, shown: &str) {
    let (host, port) = server.address.rsplit_once(':').unwrap();
    let mut telnet = Command::new("telnet");
    telnet.args([host, port]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut telnet = telnet.spawn().unwrap();
    let lines = Lines::of(telnet.stdout.take().unwrap());
    // The last line of telnet itself.
    lines.line_with("Escape character");
    for line in shown.lines() {
        let is_answer =
            ["Message from", "{\"id\"", "{\"status\""].iter().any(|start| line.starts_with(start));
        if is_answer {
            assert_eq!(lines.line(), line);
        } else {
            writeln!(telnet.stdin.as_ref().unwrap(), "{line}").unwrap();
        }
    }
    drop(telnet.stdin.take());
    wait(&mut telnet);
}

#[test]
fn readme_command_example_matches_the_app() {
    let source = std::fs::read_to_string(project_root().join("app/command/hello.rs")).unwrap();
    let (_, code) = source.split_once("\n\n").unwrap();
    assert!(blocks("rust").iter().any(|block| block.trim_end() == code.trim_end()), "{code}");
}

#[test]
fn readme_test_command_matches_ci() {
    let check = std::fs::read_to_string(project_root().join(".ci/run")).unwrap();
    assert!(blocks("sh").iter().any(|block| block.trim() == "cargo test --workspace"));
    assert!(check.lines().any(|line| line.trim() == "cargo test --workspace"), "{check}");
}

/// The code spans in the first cells of a table's rows, or in one row.
fn code_spans<'a>(rows: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect()
}

/// The first cells of the table below a heading.
fn first_cells<'a>(readme: &'a str, heading: &str) -> impl Iterator<Item = &'a str> {
    let (_, below) = readme.split_once(&format!("\n### {heading}\n")).unwrap();
    let section = below.split("\n### ").next().unwrap();
    section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
}

#[test]
fn readme_settings_are_those_of_the_program() {
    let shown = Project::new().think("config:show server").exits(0).stdout;
    let names = shown.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.collect();
    let readme = readme();
    let listed = code_spans(first_cells(&readme, "Settings"));
    let kept = code_spans(readme.lines().filter(|line| line.contains("settings that keep their name")));
    assert!(kept.len() > 5, "{kept:?}");
    for name in listed.iter().chain(&kept) {
        assert!(names.contains(name), "there is no setting {name}");
    }
    for name in names {
        assert!(listed.contains(&name), "{name} is not in the table");
    }
}

#[test]
fn readme_verbs_are_known_to_the_server() {
    let server = Server::start();
    let readme = readme();
    let verbs = code_spans(first_cells(&readme, "Verbs"));
    assert!(verbs.len() > 20, "{verbs:?}");
    for verb in verbs {
        // A field that no verb has, so that none is carried out.
        let request = format!("{{\"command\":\"{verb}\",\"colour\":1}}\n");
        let reply = server.connect().send(request).json();
        assert_eq!(reply["code"], "bad_request", "{verb}: {reply}");
    }
}
