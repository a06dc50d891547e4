//! A server in the background: how it is started, detaches from its terminal, and reports that it is ready.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use framework::config::{Config, called, pass_call};
use framework::output::Verbosity;
use framework::prelude::*;
use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};

/// The option of a process that is the server in the background.
pub(super) const DETACHED: &str = "--detached";

/// The message of a server in the background to its starter, on its standard output, when it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReadyMessage {
    pub(super) pid: u32,
    pub(super) address: String,
    pub(super) log: String,
}

/// The log and pid files of a server in the background, unless the settings name others.
pub(super) const LOG_FILE: &str = "runtime/server.log";
pub(crate) const PID_FILE: &str = "runtime/server.pid";

/// Starts the program as a server in the background, and waits until it is ready or has failed.
///
/// # Errors
/// The error of the server, with its exit code.
pub(crate) fn launch(config: &Config, arguments: &[String], output: &mut Output) -> Result<()> {
    let program = program()?;
    output.flush();
    keep_descriptors();
    let mut child = pass_call(&mut Command::new(&program))
        .args(arguments)
        .arg(DETACHED)
        .args(verbosity(output))
        // So that it keeps neither the directory that it was started in nor its file system in use.
        .current_dir(config.root())
        .env("THINK_ROOT", config.root())
        // It reports to its starter alone.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let stderr = child.stderr.take().map(read_on_thread);
    match read_ready(&mut child) {
        Some(ReadyMessage { pid, address, log }) => {
            output.success(format_args!("The task server listens on {address} with pid {pid}."));
            output.note(format_args!("It logs to {log}; {} task:stop ends it.", called()));
            Ok(())
        }
        None => {
            let status = child.wait().context("waiting for the server")?;
            let stderr = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
            Err(failure(status, &stderr, output))
        }
    }
}

/// Keeps the descriptors that this process has inherited to itself: a server that held the lock or the pipe
/// of a script would hold it for days.
#[expect(unsafe_code, reason = "inherited descriptors are known by their numbers alone")]
fn keep_descriptors() {
    // On Linux a link to /proc/self/fd; where there is neither, nothing can be done.
    let Ok(entries) = std::fs::read_dir("/dev/fd") else { return };
    let numbers: Vec<RawFd> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // SAFETY: it is used for one call that changes a flag, which fails if it is not open any more.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _ = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
}

/// The file of this program, by the path that it was called by if there is one: a link on the way may point
/// to a newer version by now.
pub(super) fn program() -> Result<PathBuf> {
    let called = std::env::args_os().next().map(PathBuf::from);
    let called = called.filter(|path| path.components().count() > 1 && path.is_file());
    if let Some(path) = called {
        return std::path::absolute(path).context("finding the program's own file");
    }
    let own = std::env::current_exe().context("finding the program's own file")?;
    // Linux appends this to the path of a file that another one has replaced.
    let replaced = own.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    Ok(replaced.map_or_else(|| own.clone(), PathBuf::from))
}

/// The option that makes another process print as much as this one.
pub(super) fn verbosity(output: &Output) -> Option<&'static str> {
    match output.verbosity() {
        Verbosity::Quiet => Some("-q"),
        Verbosity::Normal => None,
        Verbosity::Verbose(1) => Some("-v"),
        Verbosity::Verbose(_) => Some("-vv"),
    }
}

fn read_on_thread(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // After an error, what came until then is all there is.
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the message of the server; `None` when it exits without one.
fn read_ready(child: &mut Child) -> Option<ReadyMessage> {
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// The error of a server that has exited before it was ready; prints what else was in its standard error.
fn failure(status: ExitStatus, stderr: &str, output: &mut Output) -> anyhow::Error {
    let (remarks, error) = match stderr.find("error: ") {
        Some(start) => (&stderr[..start], stderr[start + "error: ".len()..].trim_end()),
        None => ("", stderr.trim_end()),
    };
    for remark in remarks.lines() {
        output.note(remark);
    }
    let exit = exit_of(status).unwrap_or(Exit::Failed);
    if error.is_empty() {
        exit.error(format!("the server exited before it was ready: {status}"))
    } else {
        exit.error(error.to_owned())
    }
}

/// The exit code of a command that ends as a server process did; `None` when that is no exit code of the
/// program, or 0.
pub(super) fn exit_of(status: ExitStatus) -> Option<Exit> {
    Some(match status.code()? {
        1 => Exit::Failed,
        2 => Exit::Usage,
        3 => Exit::NotRunning,
        4 => Exit::AlreadyRunning,
        5 => Exit::Refused,
        130 => Exit::Interrupted,
        _ => return None,
    })
}

/// Leaves the session of the terminal, whose end does not concern this process from then on. The umask stays
/// as it is.
pub(super) fn detach() -> Result<()> {
    rustix::process::setsid().context("leaving the terminal's session")?;
    Ok(())
}

/// Reports to the starter of this process that the server is ready.
///
/// # Errors
/// When the starter has exited.
pub(super) fn report_ready(address: String, log: Option<&Path>, output: &mut Output) -> Result<()> {
    let log = log.map(|log| log.display().to_string()).unwrap_or_default();
    output.json(&ReadyMessage { pid: std::process::id(), address, log })?;
    output.flush();
    if output.is_closed() {
        return Err(Exit::Interrupted.error("the starter of the server did not wait until it was ready"));
    }
    Ok(())
}
