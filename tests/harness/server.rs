//! A server of the real program in the foreground.

use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::client::Client;
use super::lines::Lines;
use super::process::{kill, wait};
use super::{Project, Ran};

/// `task:start` on a free port, ended with its owner.
pub(crate) struct Server {
    pub(crate) project: Project,
    pub(crate) address: String,
    child: Child,
    lines: Lines,
}

impl Server {
    /// Starts with the default settings.
    pub(crate) fn start() -> Self {
        Self::with(Project::new(), "")
    }

    /// Starts with these settings.
    pub(crate) fn with_settings(settings: &str) -> Self {
        Self::with(Project::with_settings(settings), "")
    }

    /// Starts in a project, with further arguments.
    pub(crate) fn with(project: Project, arguments: &str) -> Self {
        Self::with_environment(project, arguments, &[])
    }

    /// Starts with these variables, too.
    pub(crate) fn with_environment(project: Project, arguments: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = project.command();
        command.args(["task:start", "--port", "0"]).args(arguments.split_whitespace());
        command.envs(variables.iter().copied());
        Self::of(project, &mut command)
    }

    /// Starts in a project by this command.
    pub(crate) fn of(project: Project, command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Lines::of(child.stderr.take().unwrap());
        let mut server = Self { project, address: String::new(), child, lines };
        server.address = first_address(&server.line_with("The task server listens on ")).to_owned();
        server
    }

    /// The next line that the server prints.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.lines.line()
    }

    /// The next line with this in it; those before it are skipped.
    #[track_caller]
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        self.lines.line_with(text)
    }

    /// `true` if it has printed a line with this in it by now; all lines until now are skipped.
    pub(crate) fn has_printed(&mut self, text: &str) -> bool {
        self.lines.has_come(text)
    }

    /// All further lines until its end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.lines.rest()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.address)
    }

    /// Runs a client command against this server.
    #[track_caller]
    pub(crate) fn think(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.project.command().args(arguments).args(["--address", &self.address]))
    }

    /// The output of `task:status --json`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        self.think(&["task:status", "--json"]).exits(0).json()
    }

    /// The ledger of `task:status --json`.
    #[track_caller]
    pub(crate) fn ledger(&self) -> Value {
        self.status()["ledger"].take()
    }

    /// The file of its control socket.
    pub(crate) fn control_socket(&self) -> std::path::PathBuf {
        self.project.path("runtime/server.sock")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and starts it again in the same project.
    pub(crate) fn again(self, arguments: &str) -> Self {
        Self::with(self.into_project(), arguments)
    }

    /// Waits for its end, and leaves its project.
    pub(crate) fn into_project(mut self) -> Project {
        self.exit_code();
        std::mem::replace(&mut self.project, Project::new())
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// The first address of the line in which a server names those on which it listens.
pub(crate) fn first_address(line: &str) -> &str {
    let addresses = line.split_once("listens on ").unwrap().1.split_once(". ").unwrap().0;
    addresses.split(" and ").next().unwrap()
}
