//! `task:start`: boots the task server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use framework::client::Client;
use framework::config::{Config, Section};
use framework::log::{Format, Logging};
use framework::output::Verbosity;
use framework::prelude::*;
use framework::server::{Running, Server, ServerSettings, Stopped};
use framework::store::sqlite::InUse;
use framework::task::Handlers;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::server_address::address_of;

/// Start the task server
///
/// Runs in the foreground. Ctrl-C lets running tasks finish and ends it; a second Ctrl-C ends it at once.
/// Settings are in config/server.toml; the options below go before them.
#[derive(Args, Command)]
#[command(name = "task:start")]
struct Start {
    /// Listen on this address
    #[arg(long)]
    host: Option<String>,
    /// Listen on this port; 0 takes a free one
    #[arg(short, long)]
    port: Option<u16>,
    /// How many tasks may run at once
    #[arg(short, long, value_name = "COUNT")]
    workers: Option<usize>,
    /// How log lines look
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
}

impl Execute for Start {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let config = app.config()?;
        config.check_all()?;
        let settings = self.settings(config.section()?)?;
        logging(&settings, config, output.verbosity()).start()?;
        let mut signals = Signals::listen()?;
        let handlers = Arc::new(Handlers::collect()?);
        let store = settings.open_store(config, handlers.clone()).map_err(in_use)?;
        let server = Server {
            config: config.clone(),
            handlers,
            events: app.events(),
            store,
            settings: settings.clone(),
        };
        let running = match server.start().await {
            Ok(running) => running,
            Err(error) => return Err(explain(error, &settings).await),
        };
        let _pid_file = PidFile::write(config.root(), settings.pid_file.as_deref())?;
        let address = &running.addresses()[0];
        output.note(format_args!("The task server listens on {address}. Ctrl-C ends it."));
        signals.next().await;
        output.note("Stopping: running tasks may finish. Ctrl-C again ends the server at once.");
        stop(running, signals, output).await
    }
}

impl Start {
    fn settings(self, mut settings: ServerSettings) -> Result<ServerSettings> {
        settings.host = self.host.unwrap_or(settings.host);
        settings.port = self.port.unwrap_or(settings.port);
        settings.task_worker_num = self.workers.unwrap_or(settings.task_worker_num);
        settings.log_format = self.log_format.unwrap_or(settings.log_format);
        settings.check().map_err(|invalid| Exit::Usage.because(invalid.to_string()))?;
        Ok(settings)
    }
}

fn logging(settings: &ServerSettings, config: &Config, verbosity: Verbosity) -> Logging {
    let logging = settings.logging(config);
    let (quiet, verbose) = match verbosity {
        Verbosity::Quiet => (true, 0),
        Verbosity::Normal => (false, 0),
        Verbosity::Verbose(level) => (false, level),
    };
    Logging { level: logging.level.adjusted(quiet, verbose), ..logging }
}

async fn stop(running: Running, mut signals: Signals, output: &mut Output) -> Result<()> {
    let stopped = tokio::select! {
        stopped = running.stop() => stopped,
        () = signals.next() => {
            return Err(Exit::Interrupted.because("ended at once; tasks that were running did not finish"));
        }
    };
    match stopped {
        Stopped { left: 0, .. } => output.note("All tasks have ended."),
        Stopped { left, kept: true } => output.note(format_args!("Left for the next start: {left} tasks.")),
        Stopped { left, kept: false } => {
            let lost =
                format!("lost, because the memory store does not keep what has not ended: {left} tasks");
            return Err(Exit::Failed.because(lost));
        }
    }
    Ok(())
}

/// Ctrl-C and SIGTERM, from the moment this exists: one that comes during the start is not lost.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A queue that another server uses is one that is running already.
fn in_use(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<InUse>() {
        Some(in_use) => Exit::AlreadyRunning.because(in_use.to_string()),
        None => error,
    }
}

/// Tells an address that is taken by a server of ours from any other failure.
async fn explain(error: anyhow::Error, settings: &ServerSettings) -> anyhow::Error {
    const PATIENCE: Duration = Duration::from_secs(1);
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    if kind != Some(io::ErrorKind::AddrInUse) {
        return error;
    }
    let address = address_of(settings);
    let status = async { Client::connect(&address, PATIENCE).await?.status().await };
    match tokio::time::timeout(PATIENCE, status).await {
        Ok(Ok(status)) => Exit::AlreadyRunning
            .because(format!("a task server runs on {address} already, with pid {}", status.pid)),
        _ => error.context("another program has the address; choose another --port"),
    }
}

/// The file that names this process while it runs.
struct PidFile(Option<PathBuf>);

impl PidFile {
    fn write(root: &Path, file: Option<&Path>) -> Result<Self> {
        let Some(file) = file.map(|file| root.join(file)) else { return Ok(Self(None)) };
        let write = || {
            if let Some(directory) = file.parent() {
                std::fs::create_dir_all(directory)?;
            }
            std::fs::write(&file, format!("{}\n", std::process::id()))
        };
        write().with_context(|| format!("writing pid_file {}", file.display()))?;
        Ok(Self(Some(file)))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            drop(std::fs::remove_file(file));
        }
    }
}
