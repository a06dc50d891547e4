//! `task:stop`: graceful shutdown of the task server.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use framework::client::{ClientError, ShutdownProgress};
use framework::prelude::*;
use framework::protocol::ErrorCode;
use framework::server::ServerSettings;
use framework::views::{ShutdownPhase, ShutdownStatus};
use rustix::process::Signal;

use super::running_display::RunningDisplay;
use super::start::daemon::PID_FILE;
use super::start::pid_file::{Holder, PidFile, owner_of};
use super::start::signals::{bit, ignored_by};
use crate::format::count_tasks;
use crate::options::own_server;
use crate::options::server_address::exit_error;
use crate::options::shutdown::ShutdownOptions;

/// Stop the task server (graceful shutdown)
///
/// The server stops accepting, waits for running tasks, answers pending requests, and keeps waiting tasks for
/// its next start. Idle connections do not delay it. Returns when the process of the server has ended.
#[derive(Args, Command)]
#[command(name = "task:stop")]
struct Stop {
    #[command(flatten)]
    options: ShutdownOptions,
}

impl Execute for Stop {
    const BLOCK: Option<&'static str> = Some("server");
    const RESERVED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        stop(app, &self.options, output).await.map(|_| ())
    }
}

/// Stops the server and waits for its end; the last status, unless the server could only be signalled.
pub(super) async fn stop(
    app: &App,
    options: &ShutdownOptions,
    output: &mut Output,
) -> Result<Option<ShutdownStatus>> {
    // By its control socket: another project's server may have the port.
    let is_here = options.address.is_none();
    let client = match options.server(app)?.connect_if_running(app).await {
        Ok(Some(client)) => client,
        Ok(None) if is_here => return stop_by_signal(app, options, output).await.map(|()| None),
        Ok(None) => return Err(Exit::NotRunning.error("no task server is running at this address")),
        Err(error) if is_here && kind(error.downcast_ref()) == Some(ErrorKind::PermissionDenied) => {
            return Err(match own_server::control_socket(app.config()?)? {
                Some(socket) => foreign_owner(&socket, &pid_file(app)?),
                None => error,
            });
        }
        Err(error) if is_here && error.downcast_ref().is_some_and(is_disconnected) => {
            return stop_after_disconnect(app, options, output).await.map(|()| None);
        }
        Err(error) => return Err(error),
    };
    match client.stop(options.wire_value().as_deref()).await {
        Ok(mut progress) => follow(&mut progress, output).await,
        Err(error) if is_here && is_disconnected(&error) => {
            stop_after_disconnect(app, options, output).await.map(|()| None)
        }
        // It is stopping already, with the grace period of the first request.
        Err(ClientError::Refused(refusal)) if is_here && refusal.code == ErrorCode::ShuttingDown => {
            if PidFile::holder(&pid_file(app)?).is_none() {
                return Err(exit_error(ClientError::Refused(refusal)));
            }
            stop_by_signal(app, options, output).await.map(|()| None)
        }
        Err(error) => Err(exit_error(error)),
    }
}

async fn follow(progress: &mut ShutdownProgress, output: &mut Output) -> Result<Option<ShutdownStatus>> {
    let pid = progress.status().pid;
    output.note(format_args!("The task server with pid {pid} is stopping."));
    let mut display = RunningDisplay::default();
    show(progress.status(), &mut display, output);
    loop {
        match progress.next().await {
            Ok(Some(status)) => show(status, &mut display, output),
            Ok(None) => break,
            Err(ClientError::Io { .. }) => {
                output.redraw("");
                return Err(Exit::Failed.error("the server ended before its shutdown was complete"));
            }
            Err(error) => return Err(exit_error(error)),
        }
    }
    output.redraw("");
    let status = progress.status().clone();
    match (status.remaining, status.durable) {
        (0, _) => output.success("The task server has stopped; all tasks have ended."),
        (remaining, true) => {
            output.success(format_args!(
                "The task server has stopped; {} kept for its next start.",
                count_tasks(remaining)
            ));
        }
        (remaining, false) => {
            output.warn(format_args!("the memory store keeps no tasks: {} lost", count_tasks(remaining)));
            output.success("The task server has stopped.");
        }
    }
    Ok(Some(status))
}

fn show(status: &ShutdownStatus, display: &mut RunningDisplay, output: &mut Output) {
    if status.phase != ShutdownPhase::Stopped {
        display.show(status.grace_ms, &status.running, output);
    }
}

/// Stops a server that does not listen: it is starting or stopping, or listens elsewhere.
async fn stop_by_signal(app: &App, options: &ShutdownOptions, output: &mut Output) -> Result<()> {
    let path = pid_file(app)?;
    let Some(holder) = PidFile::holder(&path) else {
        let stale = if path.exists() { format!("; {} is stale", path.display()) } else { String::new() };
        return Err(Exit::NotRunning.error(format!("no task server is running{stale}")));
    };
    output
        .note(format_args!("The task server with {holder} accepts no request to stop; sending it a signal."));
    // SIGQUIT is always graceful, however often it is sent; a server that was started by a script in its
    // background may ignore it.
    let is_heeded = holder.pid().is_none_or(|pid| ignored_by(&pid.to_string()) & bit(Signal::QUIT) == 0);
    holder.signal(if is_heeded { Signal::QUIT } else { Signal::TERM })?;
    if options.is_immediate() {
        holder.signal(Signal::TERM)?;
    }
    wait_released(&path, holder).await;
    output.success("The task server has stopped.");
    Ok(())
}

/// Waits until the process releases its pid file, which it does at its very end.
async fn wait_released(path: &Path, holder: Holder) {
    const POLL_INTERVAL: Duration = Duration::from_millis(20);
    while PidFile::holder(path).is_some_and(|current| current.pid() == holder.pid()) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn kind(error: Option<&ClientError>) -> Option<ErrorKind> {
    match error? {
        ClientError::Io { source, .. } => Some(source.kind()),
        _ => None,
    }
}

/// Whether the server closed the connection, as one does that is already stopping.
fn is_disconnected(error: &ClientError) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        ClientError::NotRunning(_) => true,
        ClientError::Unknown { source } => is_disconnected(source),
        error => matches!(kind(Some(error)), Some(BrokenPipe | ConnectionReset | UnexpectedEof)),
    }
}

/// Waits for a server that is already stopping.
async fn stop_after_disconnect(app: &App, options: &ShutdownOptions, output: &mut Output) -> Result<()> {
    match PidFile::holder(&pid_file(app)?) {
        Some(_) => stop_by_signal(app, options, output).await,
        None => {
            output.success("The task server has stopped.");
            Ok(())
        }
    }
}

/// The error for a control socket that belongs to another user.
fn foreign_owner(socket: &Path, pid_file: &Path) -> anyhow::Error {
    let owner = owner_of(socket);
    let socket = socket.display();
    let error = match PidFile::holder(pid_file) {
        Some(holder) => format!(
            "the task server with {holder} belongs to another user (uid {owner}), who alone may stop it: permission \
             denied on {socket}"
        ),
        None => format!(
            "{socket} belongs to another user (uid {owner}), who alone may stop a task server that listens there"
        ),
    };
    Exit::Failed.error(error)
}

fn pid_file(app: &App) -> Result<PathBuf> {
    let config = app.config()?;
    let settings: ServerSettings = config.section()?;
    Ok(config.path(settings.pid_file.unwrap_or_else(|| PID_FILE.into())))
}
