//! `task:stop`: ends the task server in good order.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use framework::client::{Address, ClientError, ShutdownProgress};
use framework::humantime::format_duration;
use framework::prelude::*;
use framework::server::ServerSettings;
use framework::views::{ShutdownPhase, ShutdownStatus};
use rustix::process::Signal;

use super::server_address::{ServerAddress, exit_error};
use super::shutdown_options::ShutdownOptions;
use super::start::daemon::PID_FILE;
use super::start::pid_file::{Holder, PidFile};

/// Stop the task server
///
/// It accepts nothing more, lets running tasks finish, answers whoever waits, and keeps the rest for its next start;
/// idle connections do not hold it up. Returns when its process has ended.
#[derive(Args, Command)]
#[command(name = "task:stop")]
struct Stop {
    #[command(flatten)]
    grace: ShutdownOptions,
}

impl Execute for Stop {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        stop(app, &self.grace, output).await.map(|_| ())
    }
}

/// Stops the server and waits for its end; what it said last, unless it could not be asked.
pub(super) async fn stop(
    app: &App,
    grace: &ShutdownOptions,
    output: &mut Output,
) -> Result<Option<ShutdownStatus>> {
    // This project's own, wherever it listens: another one may have the port.
    let (is_here, address) = match &grace.address {
        Some(address) => (false, address.clone()),
        None => (true, Address::Unix(control_socket(app)?)),
    };
    let client = match ServerAddress::at(Some(address)).connect_if_running(app).await {
        Ok(Some(client)) => client,
        Ok(None) if is_here => return stop_unasked(app, grace, output).await.map(|()| None),
        Ok(None) => return Err(Exit::NotRunning.error("no task server is running there")),
        Err(error) if is_here && kind(error.downcast_ref()) == Some(ErrorKind::PermissionDenied) => {
            return Err(of_another(app)?);
        }
        Err(error) if is_here && error.downcast_ref().is_some_and(is_cut) => {
            return hung_up(app, grace, output).await.map(|()| None);
        }
        Err(error) => return Err(error),
    };
    match client.stop(grace.wire_value().as_deref()).await {
        Ok(mut leaving) => follow(&mut leaving, output).await,
        Err(error) if is_here && is_cut(&error) => hung_up(app, grace, output).await.map(|()| None),
        Err(error) => Err(exit_error(error)),
    }
}

async fn follow(leaving: &mut ShutdownProgress, output: &mut Output) -> Result<Option<ShutdownStatus>> {
    let pid = leaving.farewell().pid;
    output.note(format_args!("The task server with pid {pid} stops."));
    let mut seen = BTreeMap::new();
    tell(leaving.farewell(), &mut seen, output);
    loop {
        match leaving.next().await {
            Ok(Some(farewell)) => tell(farewell, &mut seen, output),
            Ok(None) => break,
            Err(ClientError::Io { .. }) => {
                output.redraw("");
                return Err(Exit::Failed.error("the server ended before everything was settled"));
            }
            Err(error) => return Err(exit_error(error)),
        }
    }
    output.redraw("");
    let farewell = leaving.farewell().clone();
    match (farewell.remaining, farewell.durable) {
        (0, _) => output.success("The task server has stopped; all tasks have ended."),
        (left, true) => {
            output
                .success(format_args!("The task server has stopped. Left for its next start: {left} tasks."));
        }
        (left, false) => {
            output.warn(format_args!("the memory store has kept nothing: {left} tasks are lost"));
            output.success("The task server has stopped.");
        }
    }
    Ok(Some(farewell))
}

/// Shows what is waited for: in place where somebody watches, else when it has changed.
fn tell(farewell: &ShutdownStatus, seen: &mut BTreeMap<String, u64>, output: &mut Output) {
    if farewell.phase == ShutdownPhase::Stopped || farewell.running.is_empty() {
        return;
    }
    let text = waiting(farewell.grace_ms, &farewell.running);
    if output.is_watched() {
        output.redraw(text);
    } else if *seen != farewell.running {
        seen.clone_from(&farewell.running);
        output.note(text);
    }
}

/// Which running tasks are waited for, and how long.
pub(super) fn waiting(patience_ms: u64, running: &BTreeMap<String, u64>) -> String {
    let running: Vec<_> = running.iter().map(|(function, count)| format!("{count} of {function}")).collect();
    let grace = format_duration(Duration::from_secs(patience_ms.div_ceil(1000)));
    format!("Waiting up to {grace} for running tasks: {}", running.join(", "))
}

/// Nobody listens where the server should be: it may be about to start or to end, or listen elsewhere.
async fn stop_unasked(app: &App, grace: &ShutdownOptions, output: &mut Output) -> Result<()> {
    let path = pid_file(app)?;
    let Some(holder) = PidFile::holder(&path) else {
        let stale =
            if path.exists() { format!("; {} was left behind", path.display()) } else { String::new() };
        return Err(Exit::NotRunning.error(format!("no task server is running{stale}")));
    };
    output.note(format_args!(
        "The task server with {holder} does not listen (yet, or any more); it is told to stop."
    ));
    // Never "at once", as often as it comes.
    holder.signal(Signal::QUIT)?;
    if grace.is_none() {
        holder.signal(Signal::TERM)?;
    }
    gone(&path, holder).await;
    output.success("The task server has stopped.");
    Ok(())
}

/// Waits until the process lets go of its file, which it does at its very end.
async fn gone(path: &std::path::Path, holder: Holder) {
    const PACE: Duration = Duration::from_millis(20);
    while PidFile::holder(path).is_some_and(|there| there.pid() == holder.pid()) {
        tokio::time::sleep(PACE).await;
    }
}

fn kind(error: Option<&ClientError>) -> Option<ErrorKind> {
    match error? {
        ClientError::Io { source, .. } => Some(source.kind()),
        _ => None,
    }
}

/// Whether a server that was there has hung up on us, as one does that stops already.
fn is_cut(error: &ClientError) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        ClientError::NotRunning(_) => true,
        ClientError::Unknown { source } => is_cut(source),
        error => matches!(kind(Some(error)), Some(BrokenPipe | ConnectionReset | UnexpectedEof)),
    }
}

/// Somebody else has told it before us.
async fn hung_up(app: &App, grace: &ShutdownOptions, output: &mut Output) -> Result<()> {
    match PidFile::holder(&pid_file(app)?) {
        Some(_) => stop_unasked(app, grace, output).await,
        None => {
            output.success("The task server has stopped.");
            Ok(())
        }
    }
}

/// Why the server behind a control socket that lets us not in cannot be stopped.
fn of_another(app: &App) -> Result<anyhow::Error> {
    let (socket, pid_file) = (control_socket(app)?, pid_file(app)?);
    let owner = fs::metadata(&socket).map_or(0, |metadata| metadata.uid());
    let socket = socket.display();
    let error = match PidFile::holder(&pid_file) {
        Some(holder) => format!(
            "the task server with {holder} is that of another user (uid {owner}), who alone may stop it: \
             {socket} lets nobody else in"
        ),
        None => format!(
            "{socket} is that of another user (uid {owner}), who alone may stop a task server that listens \
             there"
        ),
    };
    Ok(Exit::Failed.error(error))
}

pub(super) fn control_socket(app: &App) -> Result<PathBuf> {
    let config = app.config()?;
    Ok(config.root().join(config.section::<ServerSettings>()?.control_socket))
}

fn pid_file(app: &App) -> Result<PathBuf> {
    let config = app.config()?;
    let settings: ServerSettings = config.section()?;
    Ok(config.root().join(settings.pid_file.unwrap_or_else(|| PID_FILE.into())))
}
