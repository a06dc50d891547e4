//! A server in the background: who starts it, and what it does to become one.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use framework::config::Config;
use framework::output::Verbosity;
use framework::prelude::*;
use serde::{Deserialize, Serialize};

/// What tells the program that it is to be the server in the background.
pub(super) const DETACHED: &str = "--detached";

/// What a server in the background says, on the stdout that its starter reads, when it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) pid: u32,
    pub(super) address: String,
    pub(super) log: String,
}

/// Where it logs, and where it leaves its number, unless the settings say otherwise.
pub(in crate::task) const LOG_FILE: &str = "runtime/server.log";
pub(in crate::task) const PID_FILE: &str = "runtime/server.pid";

/// Starts the program once more as a server in the background, and waits until it is ready or has failed.
///
/// # Errors
/// What the server said, with its exit code.
pub(in crate::task) fn launch(config: &Config, arguments: &[String], output: &mut Output) -> Result<()> {
    let program = program()?;
    output.flush();
    let mut child = Command::new(&program)
        .args(arguments)
        .arg(DETACHED)
        .args(verbosity(output))
        // A directory that is not held: neither the one it was started in, nor its file system.
        .current_dir(config.root())
        .env("THINK_ROOT", config.root())
        // It answers to its starter alone.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let complaints = child.stderr.take().map(collect);
    match hear(&mut child) {
        Some(Ready { pid, address, log }) => {
            output.success(format_args!("The task server listens on {address} with pid {pid}."));
            output.note(format_args!("It logs to {log}; ./think task:stop ends it."));
            Ok(())
        }
        None => {
            let status = child.wait().context("waiting for the server")?;
            let said = complaints.and_then(|complaints| complaints.join().ok()).unwrap_or_default();
            Err(failure(status, &said, output))
        }
    }
}

/// The program's own file, by the path that it was called by if there is one: a link on the way may point to a newer
/// version by now.
pub(super) fn program() -> Result<PathBuf> {
    let called = std::env::args_os().next().map(PathBuf::from);
    let called = called.filter(|path| path.components().count() > 1 && path.is_file());
    if let Some(path) = called {
        return std::path::absolute(path).context("finding the program's own file");
    }
    let own = std::env::current_exe().context("finding the program's own file")?;
    // What Linux says of a file that another one has replaced.
    let replaced = own.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    Ok(replaced.map_or_else(|| own.clone(), PathBuf::from))
}

/// The option that makes another one say as much.
pub(super) fn verbosity(output: &Output) -> Option<&'static str> {
    match output.verbosity() {
        Verbosity::Quiet => Some("-q"),
        Verbosity::Normal => None,
        Verbosity::Verbose(1) => Some("-v"),
        Verbosity::Verbose(_) => Some("-vv"),
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut said = Vec::new();
        // What came until then is all there is.
        drop(stream.read_to_end(&mut said));
        String::from_utf8_lossy(&said).into_owned()
    })
}

/// Its word that it is ready; `None` when it ends without it.
fn hear(child: &mut Child) -> Option<Ready> {
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// Ends as the server has ended, and says what it said.
fn failure(status: std::process::ExitStatus, said: &str, output: &mut Output) -> anyhow::Error {
    let (remarks, error) = match said.find("error: ") {
        Some(start) => (&said[..start], said[start + "error: ".len()..].trim_end()),
        None => ("", said.trim_end()),
    };
    for remark in remarks.lines() {
        output.note(remark);
    }
    let exit = match status.code() {
        Some(2) => Exit::Usage,
        Some(4) => Exit::AlreadyRunning,
        Some(130) => Exit::Interrupted,
        _ => Exit::Failed,
    };
    match error {
        "" => exit.error(format!("the server has ended before it was ready: {status}")),
        _ => exit.error(error.to_owned()),
    }
}

/// Leaves the session of the terminal: its end is nothing to this process from now on. What may be read and written
/// by others (umask) stays as whoever started it has set it.
pub(super) fn detach() -> Result<()> {
    rustix::process::setsid().context("leaving the terminal's session")?;
    Ok(())
}

/// Tells whoever started this process that it is ready.
///
/// # Errors
/// When nobody waits for that any more.
pub(super) fn announce(address: String, log: Option<&Path>, output: &mut Output) -> Result<()> {
    let log = log.map(|log| log.display().to_string()).unwrap_or_default();
    output.json(&Ready { pid: std::process::id(), address, log })?;
    output.flush();
    match output.is_closed() {
        true => Err(Exit::Interrupted.error("whoever started the server did not wait until it was ready")),
        false => Ok(()),
    }
}
