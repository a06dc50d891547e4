//! The process that is the server: it serves until it is stopped, or until another process has taken over.

mod start_error;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framework::config::{Config, Systemd};
use framework::log::{LogGuard, tracing};
use framework::prelude::*;
use framework::server::{
    DrainingServer, Handover, InheritedSocket, Server, ServerHandle, ServerSettings, ShutdownReport,
    check_start, register_kept,
};
use framework::store::sqlite::QueueFile;
use framework::task::Handlers;
use rustix::process::{Pid, Signal, kill_process};

use self::start_error::{explain, queue_in_use};
use super::daemon;
use super::pid_file::PidFile;
use super::reload::child_side::OldProcess;
use super::reload::replace::{Outcome, PreparedReplacement, Replacement, Supervision};
use super::sd_notify::Notifier;
use super::signals::Signals;
use super::supervisor::{Supervisor, SupervisorChannel};
use crate::format::count_tasks;
use crate::task::check::check_waiting;

/// Everything that the process of a server has beside the server.
pub(super) struct ServerProcess<'a> {
    pub(super) app: &'a App,
    pub(super) config: &'a Config,
    pub(super) settings: ServerSettings,
    pub(super) handlers: Arc<Handlers>,
    pub(super) launch: LaunchOptions,
    pub(super) signals: Signals,
    pub(super) log: LogGuard,
    /// `None` while another process has it, or when the settings name none.
    pub(super) pid_file: Option<PidFile>,
    pub(super) output: &'a mut Output,
}

/// The way in which the process was started, and the command lines of others like it.
pub(super) struct LaunchOptions {
    /// It runs in the background.
    pub(super) is_daemon: bool,
    /// It was started by a reload.
    pub(super) is_takeover: bool,
    /// The command line that starts such a server, for `task:restart`.
    pub(super) restart_arguments: Vec<String>,
    /// The command line of a process that takes over.
    pub(super) takeover_arguments: Vec<String>,
}

/// The reason why the process no longer serves.
enum ProcessEnd {
    Stopped(ShutdownReport),
    /// Another process serves.
    Replaced,
    /// Another process was to serve and could not: everything has come back.
    TakenBack(Handover),
}

impl ServerProcess<'_> {
    /// Serves until the end; takes over from another process if there is one.
    pub(super) async fn run(
        &mut self,
        mut old_process: Option<&mut OldProcess>,
        notifier: &Notifier,
    ) -> Result<()> {
        if let Some(stale) = self.pid_file.as_ref().and_then(|file| file.stale.as_ref()) {
            tracing::info!("{stale}");
        }
        let reload_due = AtomicBool::new(false);
        let mut handover = match &mut old_process {
            Some(old_process) => self.prepare_takeover(old_process, &reload_due).await?,
            None => Handover { sockets: systemd_sockets()?, ..Handover::default() },
        };
        loop {
            if self.pid_file.is_none() {
                self.pid_file = take_pid_file(&self.settings, self.config)?;
            }
            let running = self.start_server(handover).await?;
            if let Err(error) = self.announce(&running, old_process.take()).await {
                running.stop().await;
                return Err(error);
            }
            // In a takeover the old process does it, which is the one that the service manager still follows.
            if !self.launch.is_takeover {
                notifier.ready();
            }
            let end = tokio::select! {
                end = self.supervise(running, &reload_due, notifier) => end?,
                never = notifier.run_watchdog() => never,
            };
            match end {
                ProcessEnd::Stopped(stopped) => return self.report_stop(stopped),
                ProcessEnd::Replaced => return Ok(()),
                ProcessEnd::TakenBack(returned) => handover = returned,
            }
        }
    }

    /// Checks all that can be checked while the old process serves, and then receives everything from it.
    async fn prepare_takeover(
        &mut self,
        old_process: &mut OldProcess,
        reload_due: &AtomicBool,
    ) -> Result<Handover> {
        let queue_file = self.queue_file();
        let file = queue_file.as_ref().filter(|file| file.exists());
        let file = file.map(QueueFile::open).transpose()?;
        if let Some(file) = &file {
            register_kept(file.functions()?, &self.handlers);
        }
        check_start(&self.settings, self.config, &self.handlers)?;
        if let Some(file) = file {
            check_waiting(&file, &self.handlers)?;
        }
        let request_reload = || reload_due.store(true, Ordering::Relaxed);
        let (handover, supervisor) = tokio::select! {
            received = old_process.receive_handover(queue_file) => received?,
            () = self.signals.wait_for_stop(&self.log, || {}, request_reload) => {
                return Err(Exit::Interrupted.error("the server was stopped while it started"));
            }
        };
        self.signals.set_supervisor(supervisor);
        Ok(handover)
    }

    /// The file of the queue, or a path that stands for its database; `None` when it is in memory.
    fn queue_file(&self) -> Option<PathBuf> {
        self.settings.queue_place(self.config)
    }

    async fn start_server(&self, handover: Handover) -> Result<ServerHandle> {
        let store = self.settings.open_store(self.config, self.handlers.clone()).map_err(queue_in_use)?;
        let server = Server {
            config: self.config.clone(),
            handlers: self.handlers.clone(),
            events: framework::server::events_of(self.app),
            store,
            settings: self.settings.clone(),
            pages: Some(framework::web::pages()),
        };
        let running = match server.start_from(handover).await {
            Ok(running) => running,
            Err(error) => return Err(explain(error, &self.settings).await),
        };
        running.set_restart_args(self.launch.restart_arguments.clone());
        Ok(running)
    }

    /// Reports that the server is ready: to the terminal, the supervisor, or the process that has started
    /// this one.
    async fn announce(&mut self, running: &ServerHandle, old_process: Option<&mut OldProcess>) -> Result<()> {
        // The last address is the control socket, which is for the commands alone.
        let addresses = running.addresses().iter().take(1 + self.settings.listeners.len());
        let address = addresses.map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        if let Some(supervisor) = self.signals.supervisor_mut() {
            supervisor.report_serving().await;
        }
        if !self.settings.runs_tasks() {
            tracing::info!("no task runs in this server (task_worker_num = 0): workers elsewhere run them");
        }
        let is_first = old_process.is_none() && !self.launch.is_takeover;
        if let Some(old_process) = old_process {
            old_process.report_ready().await?;
        }
        if !self.launch.is_daemon {
            self.output.note(format_args!("The task server listens on {address}. Ctrl-C ends it."));
            return Ok(());
        }
        if is_first {
            // The starter must not report success for a server that was stopped meanwhile.
            let request_reload = || running.reload_control().request();
            tokio::select! {
                biased;
                () = self.signals.wait_for_stop(&self.log, || running.reload_credentials(), request_reload) => {
                    return Err(Exit::Interrupted.error("the server was stopped while it started"));
                }
                () = tokio::task::yield_now() => {}
            }
        }
        tracing::info!("the task server listens on {address} with pid {}", std::process::id());
        self.log.flush();
        if is_first {
            daemon::report_ready(address, self.settings.log_file.as_deref(), self.output)?;
        }
        self.log.take_streams();
        Ok(())
    }

    /// Lets the server run until it is to stop, and stops it; or until another process has taken over.
    /// `reload_due` is set by a SIGUSR1 that comes while no reload can begin.
    async fn supervise(
        &mut self,
        mut running: ServerHandle,
        reload_due: &AtomicBool,
        notifier: &Notifier,
    ) -> Result<ProcessEnd> {
        let control = running.reload_control();
        loop {
            if reload_due.swap(false, Ordering::Relaxed) {
                control.request();
            }
            let stop_requested = running.stop_requested();
            let grace = tokio::select! {
                grace = stop_requested => return self.stop(running, Some(grace), notifier).await,
                () = self.signals.wait_for_stop(&self.log, || running.reload_credentials(), || control.request()) => {
                    return self.stop(running, None, notifier).await;
                }
                grace = control.requested() => grace,
            };
            notifier.reloading();
            let stop_requested = running.stop_requested();
            let request_reload = || reload_due.store(true, Ordering::Relaxed);
            let replacement = self.replacement(grace, notifier);
            let prepared = tokio::select! {
                prepared = replacement.prepare(&mut running, self.config) => prepared,
                grace = stop_requested => return self.stop(running, Some(grace), notifier).await,
                () = self.signals.wait_for_stop(&self.log, || {}, request_reload) => {
                    return self.stop(running, None, notifier).await;
                }
            };
            match prepared {
                Ok(prepared) => return self.replace(running, prepared, reload_due, notifier).await,
                Err(reason) => {
                    tracing::error!("not reloaded, the server goes on as before: {reason}");
                    control.fail(reason);
                    notifier.ready();
                }
            }
        }
    }

    fn replacement(&self, grace: Duration, notifier: &Notifier) -> Replacement {
        let supervision = if self.signals.supervisor().is_some() {
            Supervision::Inherited
        } else if self.launch.is_daemon || notifier.is_active() {
            Supervision::None
        } else {
            Supervision::ByThisProcess
        };
        let arguments = self.launch.takeover_arguments.clone();
        Replacement { arguments, queue_file: self.queue_file(), supervision, grace }
    }

    /// Hands everything over to a new process; takes it back when that fails at the last moment.
    async fn replace(
        &mut self,
        running: ServerHandle,
        prepared: PreparedReplacement,
        reload_due: &AtomicBool,
        notifier: &Notifier,
    ) -> Result<ProcessEnd> {
        let control = running.reload_control();
        let pid_file = self.pid_file.take();
        let mut released = None;
        let release = || released = pid_file.map(PidFile::release);
        let supervisor = self.signals.supervisor().map(AsFd::as_fd);
        let outcome = prepared.hand_over(running, supervisor, release).await;
        match outcome {
            Outcome::Failed { reason, handover, draining } => {
                tracing::error!("not reloaded, the server serves again: {reason}");
                control.fail(reason);
                notifier.ready();
                tokio::spawn(draining.finish(self.settings.max_wait_time));
                Ok(ProcessEnd::TakenBack(handover))
            }
            Outcome::Replaced { pid, pause, channel, draining } => {
                if let Some(pid_file) = released {
                    pid_file.remove_if_own();
                }
                control.complete(pid);
                notifier.set_main_pid(pid);
                tracing::info!("reloaded: process {pid} serves, after a pause of {} ms", pause.as_millis());
                let is_reload_due = reload_due.swap(false, Ordering::Relaxed);
                match channel {
                    Some(channel) => self.become_supervisor(channel, pid, is_reload_due, draining).await,
                    None => {
                        self.pass_on_signals(pid, is_reload_due).await;
                        self.drain(draining).await;
                        Ok(ProcessEnd::Replaced)
                    }
                }
            }
        }
    }

    /// Stays in the foreground until the last server has exited, and exits as that one did.
    async fn become_supervisor(
        &mut self,
        channel: SupervisorChannel,
        pid: u32,
        is_reload_due: bool,
        draining: DrainingServer,
    ) -> Result<ProcessEnd> {
        let SupervisorChannel { supervisor: channel, servers } = channel;
        // Only servers may hold that end: the last of them closes it.
        drop(servers);
        let mut supervisor = Supervisor::adopt(channel, pid)?;
        if is_reload_due {
            supervisor.reload();
        }
        let draining = draining.finish(self.settings.max_wait_time);
        let (result, ()) = tokio::join!(supervisor.run(&mut self.signals), draining);
        result.map(|()| ProcessEnd::Replaced)
    }

    /// Sends the new process what came for this one during the handover.
    async fn pass_on_signals(&mut self, pid: u32, is_reload_due: bool) {
        let reload = is_reload_due.then_some(Signal::USR1);
        for signal in self.signals.take_pending().await.into_iter().chain(reload) {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
                tracing::warn!("cannot send {signal:?} to the new process: {error}");
            }
        }
    }

    /// Lets the clients of this process have the results that they still wait for.
    async fn drain(&mut self, draining: DrainingServer) {
        tokio::select! {
            () = draining.finish(self.settings.max_wait_time) => {}
            () = self.signals.wait_for_kill(&self.log) => {}
        }
    }

    async fn stop(
        &mut self,
        running: ServerHandle,
        grace: Option<Duration>,
        notifier: &Notifier,
    ) -> Result<ProcessEnd> {
        notifier.stopping();
        if self.launch.is_daemon {
            tracing::info!("stopping: running tasks may finish");
        } else {
            self.output.note("Stopping: running tasks may finish. Ctrl-C again ends the server at once.");
        }
        let stopping = async {
            match grace {
                Some(grace) => running.stop_within(grace).await,
                None => running.stop().await,
            }
        };
        tokio::select! {
            stopped = stopping => Ok(ProcessEnd::Stopped(stopped)),
            () = self.signals.wait_for_kill(&self.log) => {
                Err(Exit::Interrupted.error("ended at once; tasks that were running did not finish"))
            }
        }
    }

    fn report_stop(&mut self, stopped: ShutdownReport) -> Result<()> {
        match stopped {
            ShutdownReport { remaining: 0, .. } => self.note("All tasks have ended."),
            ShutdownReport { remaining, durable: true } => {
                self.note(format!("Left for the next start: {}.", count_tasks(remaining)))
            }
            ShutdownReport { remaining, durable: false } => {
                let lost = format!(
                    "lost, because the memory store does not keep what has not ended: {}",
                    count_tasks(remaining)
                );
                return Err(Exit::Failed.error(lost));
            }
        }
        Ok(())
    }

    /// Prints a remark, or logs it where there is no terminal.
    fn note(&mut self, text: impl std::fmt::Display) {
        if self.launch.is_daemon {
            tracing::info!("{text}");
        } else {
            self.output.note(text);
        }
    }
}

/// Writes the number of this process into the pid file of the settings, if they name one, and locks it.
pub(super) fn take_pid_file(settings: &ServerSettings, config: &Config) -> Result<Option<PidFile>> {
    settings.pid_file.as_ref().map(|file| PidFile::take(&config.path(file))).transpose()
}

/// The listening sockets that a service manager has opened.
fn systemd_sockets() -> Result<Vec<InheritedSocket>> {
    let sockets = Systemd::sockets()?;
    Ok(sockets.into_iter().map(|socket| InheritedSocket { place: None, is_managed: true, socket }).collect())
}
