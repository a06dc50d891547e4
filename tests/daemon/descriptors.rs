//! A server that may open few files.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::harness::Project;
use crate::harness::lines::Lines;
use crate::harness::process::kill;
use crate::harness::server::Server;

/// A command that starts a server which may open so many files.
fn with_files(project: &Project, count: u32) -> Command {
    let think = project.command();
    let mut command = Command::new("sh");
    let program = think.get_program().to_str().unwrap();
    command.args(["-c", &format!("ulimit -n {count}; exec {program} task:start --port 0")]);
    command.current_dir(think.get_current_dir().unwrap());
    command.envs(think.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn server_with_too_few_descriptors_answers_its_own_commands_all_the_same() {
    let project = Project::new();
    let mut command = with_files(&project, 64);
    let server = Server::of(project, &mut command);
    // More than there are descriptors: the system takes them for the server, which cannot.
    let clients: Vec<_> = (0..100).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    let status = server.project.think("task:status --json").exits(0).json();
    assert_eq!(status["pid"], server.pid());
    assert_eq!(status["open_files"]["limit"], 64);
    server.project.think("task:stop").exits(0);
    drop(clients);
}

#[test]
fn server_with_too_few_descriptors_says_how_many_connections_fit() {
    let project = Project::new();
    let mut child = with_files(&project, 300).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = Lines::of(child.stderr.take().unwrap());
    lines.line_with("so it accepts 200 connections");
    kill(&mut child);
}
