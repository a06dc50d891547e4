//! The time in which a process is the server: from when it listens until it has stopped, or another has its place.

mod replacing;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framework::client::Client;
use framework::config::{Config, Systemd};
use framework::log::{LogGuard, tracing};
use framework::prelude::*;
use framework::protocol::Durability;
use framework::server::{
    AlreadyRunning, Handover, InheritedSocket, Server, ServerHandle, ServerSettings, ShutdownReport,
    check_start,
};
use framework::store::sqlite::{QueueFile, QueueLocked};
use framework::task::Handlers;

use super::super::check::check_waiting;
use super::super::pid_file::PidFile;
use super::super::server_address::address_of;
use super::predecessor::Predecessor;
use super::service::Service;
use super::signals::Signals;
use super::{Start, daemon, take_pid_file};

/// Everything that a server's process holds beside the server.
pub(super) struct Term<'a> {
    pub(super) start: &'a Start,
    pub(super) app: &'a App,
    pub(super) config: &'a Config,
    pub(super) settings: ServerSettings,
    pub(super) handlers: Arc<Handlers>,
    pub(super) signals: Signals,
    pub(super) log: LogGuard,
    pub(super) pid_file: Option<PidFile>,
    /// Whether a signal has asked for a reload while none could begin.
    pub(super) again: AtomicBool,
    pub(super) output: &'a mut Output,
}

/// How it has ended.
enum End {
    Stopped(ShutdownReport),
    /// Another process serves.
    Replaced,
    /// The other process could not, and everything has come back.
    Returned(Handover),
}

impl Term<'_> {
    /// Serves until the end, in the place of another process if there is one.
    pub(super) async fn serve(
        &mut self,
        mut predecessor: Option<&mut Predecessor>,
        service: &Service,
    ) -> Result<()> {
        if let Some(found) = self.pid_file.as_ref().and_then(|file| file.found.as_ref()) {
            tracing::info!("{found}");
        }
        let mut handover = match &mut predecessor {
            Some(predecessor) => self.prepare(predecessor).await?,
            None => Handover { sockets: given()?, ..Handover::default() },
        };
        loop {
            if self.pid_file.is_none() {
                self.pid_file = take_pid_file(&self.settings, self.config)?;
            }
            let running = self.open(handover).await?;
            if let Err(error) = self.announce(&running, predecessor.take()).await {
                running.stop().await;
                return Err(error);
            }
            // One that succeeds another leaves that to it, which is still the one that the service manager knows.
            if !self.start.succeed {
                service.ready();
            }
            let end = tokio::select! {
                end = self.attend(running, service) => end?,
                never = service.live() => never,
            };
            match end {
                End::Stopped(stopped) => return self.part(stopped),
                End::Replaced => return Ok(()),
                End::Returned(returned) => handover = returned,
            }
        }
    }

    /// Looks at everything that can be looked at while the other process serves, and then takes its place.
    async fn prepare(&mut self, predecessor: &mut Predecessor) -> Result<Handover> {
        check_start(&self.settings, self.config, &self.handlers)?;
        let queue = self.queue();
        if let Some(file) = queue.as_ref().filter(|file| file.exists()) {
            check_waiting(&QueueFile::open(file)?, &self.handlers)?;
        }
        tokio::select! {
            handover = predecessor.estate(queue) => handover,
            () = self.signals.stop(&self.log, || {}, || self.again.store(true, Ordering::Relaxed)) => {
                Err(Exit::Interrupted.error("the server was told to stop while it started"))
            }
        }
    }

    /// The file that tasks survive in, if they survive.
    fn queue(&self) -> Option<PathBuf> {
        let survives = self.settings.durability != Durability::Memory;
        survives.then(|| self.config.root().join(&self.settings.queue_file))
    }

    async fn open(&self, handover: Handover) -> Result<ServerHandle> {
        let store = self.settings.open_store(self.config, self.handlers.clone()).map_err(in_use)?;
        let server = Server {
            config: self.config.clone(),
            handlers: self.handlers.clone(),
            events: framework::server::events_of(self.app),
            store,
            settings: self.settings.clone(),
        };
        let running = match server.start_from(handover).await {
            Ok(running) => running,
            Err(error) => return Err(explain(error, &self.settings).await),
        };
        running.set_restart_args(self.start.arguments());
        Ok(running)
    }

    /// Says that the server is ready: to the terminal, or to the process that has started it.
    async fn announce(
        &mut self,
        running: &ServerHandle,
        predecessor: Option<&mut Predecessor>,
    ) -> Result<()> {
        // The control socket, which is the last, is for the commands alone.
        let addresses = running.addresses().iter().take(1 + self.settings.listeners.len());
        let address = addresses.map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let is_first = predecessor.is_none();
        if let Some(predecessor) = predecessor {
            predecessor.ready().await?;
        }
        if !self.start.detached {
            self.output.note(format_args!("The task server listens on {address}. Ctrl-C ends it."));
            return Ok(());
        }
        if is_first && !self.start.succeed {
            // Whoever waits is not to hear that all is well when somebody else has ended it already.
            tokio::select! {
                biased;
                () = self.signals.stop(&self.log, || running.reload_credentials(), || running.reload_control().request()) => {
                    return Err(Exit::Interrupted.error("the server was told to stop while it started"));
                }
                () = tokio::task::yield_now() => {}
            }
        }
        tracing::info!("the task server listens on {address} with pid {}", std::process::id());
        self.log.flush();
        if is_first && !self.start.succeed {
            daemon::announce(address, self.settings.log_file.as_deref(), self.output)?;
        }
        self.log.take_streams();
        Ok(())
    }

    /// Lets the server run until it is to stop, and then stop; or until another process has its place.
    async fn attend(&mut self, mut running: ServerHandle, service: &Service) -> Result<End> {
        let renewal = running.reload_control();
        loop {
            if self.again.swap(false, Ordering::Relaxed) {
                renewal.request();
            }
            let asked = running.stop_requested();
            let grace = tokio::select! {
                grace = asked => return self.stop(running, Some(grace), service).await,
                () = self.signals.stop(&self.log, || running.reload_credentials(), || renewal.request()) => {
                    return self.stop(running, None, service).await;
                }
                grace = renewal.requested() => grace,
            };
            service.reloading();
            let asked = running.stop_requested();
            let replacement = self.replacement(service, grace);
            let prepared = tokio::select! {
                prepared = replacement.prepare(&mut running, self.config) => prepared,
                grace = asked => return self.stop(running, Some(grace), service).await,
                () = self.signals.stop(&self.log, || {}, || self.again.store(true, Ordering::Relaxed)) => {
                    return self.stop(running, None, service).await;
                }
            };
            match prepared {
                Ok(prepared) => return self.replace(running, prepared, service).await,
                Err(reason) => {
                    tracing::error!("not reloaded, and everything goes on as before: {reason}");
                    renewal.fail(reason);
                    service.ready();
                }
            }
        }
    }

    async fn stop(
        &mut self,
        running: ServerHandle,
        grace: Option<Duration>,
        service: &Service,
    ) -> Result<End> {
        service.stopping();
        match self.start.detached {
            true => tracing::info!("stopping: running tasks may finish"),
            false => {
                self.output.note("Stopping: running tasks may finish. Ctrl-C again ends the server at once.");
            }
        }
        let stopping = async {
            match grace {
                Some(grace) => running.stop_within(grace).await,
                None => running.stop().await,
            }
        };
        tokio::select! {
            stopped = stopping => Ok(End::Stopped(stopped)),
            () = self.signals.insist(&self.log) => {
                Err(Exit::Interrupted.error("ended at once; tasks that were running did not finish"))
            }
        }
    }

    /// Says what was left.
    fn part(&mut self, stopped: ShutdownReport) -> Result<()> {
        match stopped {
            ShutdownReport { remaining: 0, .. } => self.say("All tasks have ended."),
            ShutdownReport { remaining, durable: true } => {
                self.say(format!("Left for the next start: {remaining} tasks."))
            }
            ShutdownReport { remaining, durable: false } => {
                let lost = format!(
                    "lost, because the memory store does not keep what has not ended: {remaining} tasks"
                );
                return Err(Exit::Failed.error(lost));
            }
        }
        Ok(())
    }

    /// A remark, where somebody reads it.
    fn say(&mut self, text: impl std::fmt::Display) {
        match self.start.detached {
            true => tracing::info!("{text}"),
            false => self.output.note(text),
        }
    }
}

/// What a service manager has opened for the server.
fn given() -> Result<Vec<InheritedSocket>> {
    let sockets = Systemd::sockets()?;
    Ok(sockets.into_iter().map(|socket| InheritedSocket { place: None, is_managed: true, socket }).collect())
}

/// A queue that another server uses is one that is running already.
fn in_use(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<QueueLocked>() {
        Some(in_use) => Exit::AlreadyRunning.error(in_use.to_string()),
        None => error,
    }
}

/// Tells an address that is taken by a server of ours from any other failure.
async fn explain(error: anyhow::Error, settings: &ServerSettings) -> anyhow::Error {
    const PATIENCE: Duration = Duration::from_secs(1);
    if error.is::<AlreadyRunning>() {
        return Exit::AlreadyRunning.error(format!("{error:#}"));
    }
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    if kind != Some(io::ErrorKind::AddrInUse) {
        return error;
    }
    let address = address_of(settings);
    let status = async { Client::connect(&address, PATIENCE).await?.status().await };
    match tokio::time::timeout(PATIENCE, status).await {
        Ok(Ok(status)) => Exit::AlreadyRunning
            .error(format!("a task server runs on {address} already, with pid {}", status.pid)),
        _ => error.context("another program has the address; choose another --port"),
    }
}
