//! `task:start`: boots the task server.

pub(super) mod daemon;
mod keeper;
mod kept;
mod service;
mod signals;
mod watching;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use framework::client::Client;
use framework::config::{Config, Section};
use framework::log::{Format, Log, Logging, tracing};
use framework::output::Verbosity;
use framework::prelude::*;
use framework::server::{AlreadyRunning, Running, Server, ServerSettings, Stopped};
use framework::store::sqlite::InUse;
use framework::task::Handlers;

use self::service::Service;
use self::signals::Signals;
use super::pid_file::PidFile;
use super::server_address::address_of;

/// Start the task server
///
/// Runs in the foreground. Ctrl-C lets running tasks finish and ends it; a second Ctrl-C ends it at once.
/// With -d it runs in the background: the command returns as soon as the server is ready, or says why it is not.
/// Settings are in config/server.toml; the options below go before them.
#[derive(Args, Command)]
#[command(name = "task:start")]
struct Start {
    /// Run in the background, and log to runtime/server.log unless log_file says otherwise
    #[arg(short, long)]
    daemon: bool,
    /// Run in the foreground, although the setting daemonize is on
    #[arg(long, conflicts_with = "daemon")]
    foreground: bool,
    /// Be the server in the background that another process has started
    #[arg(long, hide = true)]
    detached: bool,
    /// Be a server that the process with this pid keeps in the foreground
    #[arg(long, value_name = "PID", hide = true)]
    keeper: Option<u32>,
    /// For developing: build and reload when sources or configuration change
    #[arg(long, conflicts_with_all = ["daemon", "detached"])]
    watch: bool,
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
        if self.watch {
            return watching::watch(config, &self.arguments(), output).await;
        }
        let is_daemon = self.daemon || settings.daemonize && !self.foreground;
        if is_daemon && !self.detached {
            return daemon::launch(config, &self.arguments(), output);
        }
        if self.detached {
            daemon::detach()?;
        }
        let mut signals = Signals::listen(self.keeper)?;
        let service = Service::find()?;
        let pid_file =
            settings.pid_file.as_ref().map(|file| PidFile::take(&config.root().join(file))).transpose()?;
        let log = logging(&settings, config, output.verbosity()).start()?;
        if let Some(found) = pid_file.as_ref().and_then(|file| file.found.as_ref()) {
            tracing::info!("{found}");
        }
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
        running.started_with(self.arguments());
        if let Err(error) = self.announce(&running, &mut signals, &settings, &log, output).await {
            running.stop().await;
            return Err(error);
        }
        service.ready();
        let stopped = tokio::select! {
            stopped = self.serve(running, signals, &service, &log, output) => stopped?,
            never = service.live() => never,
        };
        self.part(stopped, output)
    }
}

impl Start {
    /// Lets the server run until it is to stop, and then stop.
    async fn serve(
        &self,
        running: Running,
        mut signals: Signals,
        service: &Service,
        log: &Log,
        output: &mut Output,
    ) -> Result<Stopped> {
        let patience = tokio::select! {
            patience = running.asked_to_stop() => Some(patience),
            () = signals.stop(log, || running.reload()) => None,
        };
        service.stopping();
        match self.detached {
            true => tracing::info!("stopping: running tasks may finish"),
            false => output.note("Stopping: running tasks may finish. Ctrl-C again ends the server at once."),
        }
        let stopping = async {
            match patience {
                Some(patience) => running.stop_within(patience).await,
                None => running.stop().await,
            }
        };
        tokio::select! {
            stopped = stopping => Ok(stopped),
            () = signals.insist(log) => {
                Err(Exit::Interrupted.because("ended at once; tasks that were running did not finish"))
            }
        }
    }

    fn settings(&self, mut settings: ServerSettings) -> Result<ServerSettings> {
        if let Some(host) = &self.host {
            settings.host.clone_from(host);
        }
        settings.port = self.port.unwrap_or(settings.port);
        settings.task_worker_num = self.workers.unwrap_or(settings.task_worker_num);
        settings.log_format = self.log_format.unwrap_or(settings.log_format);
        if self.detached {
            settings.log_file.get_or_insert_with(|| daemon::LOG_FILE.into());
            settings.pid_file.get_or_insert_with(|| daemon::PID_FILE.into());
        }
        settings.check().map_err(|invalid| Exit::Usage.because(invalid.to_string()))?;
        Ok(settings)
    }

    /// Says that the server is ready: to the terminal, or to the process that has started it.
    async fn announce(
        &self,
        running: &Running,
        signals: &mut Signals,
        settings: &ServerSettings,
        log: &Log,
        output: &mut Output,
    ) -> Result<()> {
        // The control socket, which is the last, is for the commands alone.
        let addresses = running.addresses().iter().take(1 + settings.listeners.len());
        let address = addresses.map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        if !self.detached {
            output.note(format_args!("The task server listens on {address}. Ctrl-C ends it."));
            return Ok(());
        }
        // Whoever waits is not to hear that all is well when somebody else has ended it already.
        tokio::select! {
            biased;
            () = signals.stop(log, || running.reload()) => {
                return Err(Exit::Interrupted.because("the server was told to stop while it started"));
            }
            () = tokio::task::yield_now() => {}
        }
        tracing::info!("the task server listens on {address} with pid {}", std::process::id());
        log.flush();
        daemon::announce(address, settings.log_file.as_deref(), output)?;
        log.take_streams();
        Ok(())
    }

    /// Says what was left.
    fn part(&self, stopped: Stopped, output: &mut Output) -> Result<()> {
        match stopped {
            Stopped { left: 0, .. } => self.say(output, "All tasks have ended."),
            Stopped { left, kept: true } => {
                self.say(output, format!("Left for the next start: {left} tasks."));
            }
            Stopped { left, kept: false } => {
                let lost =
                    format!("lost, because the memory store does not keep what has not ended: {left} tasks");
                return Err(Exit::Failed.because(lost));
            }
        }
        Ok(())
    }

    /// A remark, where somebody reads it.
    fn say(&self, output: &mut Output, text: impl std::fmt::Display) {
        match self.detached {
            true => tracing::info!("{text}"),
            false => output.note(text),
        }
    }

    /// The command line that starts a server in the same way.
    fn arguments(&self) -> Vec<String> {
        let format = self.log_format.map(|format| match format {
            Format::Text => "text".to_owned(),
            Format::Json => "json".to_owned(),
        });
        let options = [
            ("--host", self.host.clone()),
            ("--port", self.port.map(|port| port.to_string())),
            ("--workers", self.workers.map(|workers| workers.to_string())),
            ("--log-format", format),
        ];
        let options = options.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        std::iter::once("task:start".to_owned()).chain(options).collect()
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
    if error.is::<AlreadyRunning>() {
        return Exit::AlreadyRunning.because(format!("{error:#}"));
    }
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
