//! The programs of config/workers.toml, which are workers: started, watched, started again when they end, and
//! ended with the server.
//!
//! They connect to the control socket, which only the owner of the server can open: so they need no token,
//! whatever the listeners require, and speak no TLS.

mod settings;

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Result, bail};
use framework_console::config::Config;
use framework_protocol::views::ProgramInfo;
use futures_util::future::join_all;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub(crate) use self::settings::ProgramSettings;
use self::settings::WorkerProgram;
use super::program_status::{LAST_LINES, PAUSES, ProgramStatus, STEADY_TIME, describe_exit, stopped};
use crate::processes::{self, OutputLines, ProcessGroup, ProcessLimits};
use crate::server::runtime::ThreadPool;
use crate::server::settings::ServerSettings;

/// All programs, with the thread that starts them.
pub(crate) struct WorkerPrograms {
    /// The kernel ends what this thread has started when it ends; `None` without any program.
    thread: Option<ThreadPool>,
    all: ProgramList,
    processes: Vec<ProgramProcess>,
    /// The time up to which programs may end by themselves, once they are to end.
    stop: watch::Sender<Option<Instant>>,
    watchers: Vec<JoinHandle<()>>,
}

/// The programs with what became of them.
#[derive(Clone, Default)]
pub(crate) struct ProgramList(Arc<[Program]>);

/// One `[[workers]]` table, and what became of its processes.
struct Program {
    settings: WorkerProgram,
    status: ProgramStatus,
}

/// One of the processes of a program.
#[derive(Clone)]
struct ProgramProcess {
    programs: ProgramList,
    program: usize,
    /// The name in the log and for the process itself.
    name: String,
    directory: PathBuf,
    /// The address of the server.
    server: String,
}

/// Checks that the programs can reach the server, without starting any.
///
/// # Errors
/// Every problem of config/workers.toml, and when there are programs and no control socket.
pub(crate) fn check(settings: &ServerSettings, config: &Config) -> Result<ProgramSettings> {
    let programs = config.section::<ProgramSettings>()?;
    if !programs.workers.is_empty() && settings.control_listener().is_none() {
        bail!(
            "the programs of config/workers.toml connect to the `control_socket`, which config/server.toml switches \
             off: remove the line"
        );
    }
    Ok(programs)
}

impl WorkerPrograms {
    /// The programs of the settings; none is started before [`WorkerPrograms::start`].
    ///
    /// # Errors
    /// The settings are wrong, or the system refuses to start a thread.
    pub(crate) fn new(settings: &ServerSettings, config: &Config) -> Result<Self> {
        let all = ProgramList::of(check(settings, config)?);
        let thread = if all.0.is_empty() { None } else { Some(ThreadPool::new("program", 1, 0)?) };
        let socket = config.path(&settings.control_socket);
        let mut processes = Vec::new();
        for (index, program) in all.0.iter().enumerate() {
            for number in 1..=program.settings.count {
                processes.push(ProgramProcess {
                    programs: all.clone(),
                    program: index,
                    name: if program.settings.count == 1 {
                        program.status.name.clone()
                    } else {
                        format!("{}#{number}", program.status.name)
                    },
                    directory: config.path(&program.settings.directory),
                    server: format!("unix:{}", socket.display()),
                });
            }
        }
        let (stop, _) = watch::channel(None);
        Ok(Self { thread, all, processes, stop, watchers: Vec::new() })
    }

    /// The programs with what became of them.
    pub(crate) fn list(&self) -> ProgramList {
        self.all.clone()
    }

    /// Starts all programs, unless they have been.
    pub(crate) fn start(&mut self) {
        let Some(thread) = self.thread.as_ref().filter(|_| self.watchers.is_empty()) else { return };
        self.stop.send_replace(None);
        let watch = |process: &ProgramProcess| thread.spawn(process.clone().watch(self.stop.subscribe()));
        self.watchers = self.processes.iter().map(watch).collect();
    }

    /// Asks all programs to end, and waits until they have; those that go on at `deadline` are killed.
    pub(crate) async fn stop(&mut self, deadline: Instant) {
        self.stop.send_replace(Some(deadline));
        join_all(self.watchers.drain(..)).await;
    }
}

impl ProgramList {
    fn of(settings: ProgramSettings) -> Self {
        let program = |settings: WorkerProgram| {
            let command = settings.command.to_string();
            Program { status: ProgramStatus::new(settings.shown_name(), command, settings.count), settings }
        };
        Self(settings.workers.into_iter().map(program).collect())
    }

    /// A report on each program, in the order of the settings.
    pub(crate) fn report(&self) -> Vec<ProgramInfo> {
        self.0.iter().map(|program| program.status.describe()).collect()
    }
}

impl ProgramProcess {
    fn program(&self) -> &Program {
        &self.programs.0[self.program]
    }

    /// Starts the program, and again whenever it has ended, until it is to end.
    async fn watch(self, mut stop: watch::Receiver<Option<Instant>>) {
        let (first, longest) = PAUSES;
        let mut pause = first;
        loop {
            let started = Instant::now();
            let end = match ProcessGroup::spawn(self.command(), ProcessLimits::default()) {
                Ok(process) => self.run(process, &mut stop).await,
                Err(error) => self.fail(&error),
            };
            if started.elapsed() >= STEADY_TIME {
                pause = first;
            }
            if stop.borrow().is_some() {
                return;
            }
            if let Some(end) = end {
                let pause = humantime::format_duration(pause);
                tracing::warn!(
                    worker = self.name,
                    "the program has ended ({end}) and is started again in {pause}"
                );
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = stopped(&mut stop) => return,
            }
            pause = (pause * 2).min(longest);
            self.program().status.restarts();
        }
    }

    fn command(&self) -> Command {
        let settings = &self.program().settings;
        let mut command = processes::command(&settings.command, &self.directory);
        command.envs(settings.environment.iter().map(|(name, value)| (name, value.reveal())));
        command.env("THINK_SERVER", &self.server).env("THINK_WORKER", &self.name);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Says once that the program cannot be started.
    fn fail(&self, error: &io::Error) -> Option<String> {
        let reason = format!("{}: {error}", self.program().settings.command.program());
        let is_new = self.program().status.failed(reason.clone());
        if is_new {
            tracing::error!(
                worker = self.name,
                "the program of config/workers.toml cannot be started, which is tried again and again: {reason}"
            );
        }
        None
    }

    /// Logs what a process writes until it has ended, or ends it; returns how it has ended.
    async fn run(
        &self,
        mut process: ProcessGroup,
        stop: &mut watch::Receiver<Option<Instant>>,
    ) -> Option<String> {
        tracing::info!(worker = self.name, pid = process.id(), "the program has begun");
        self.program().status.began();
        let (output, errors) = (process.leader.stdout.take(), process.leader.stderr.take());
        let mut lines = tokio::spawn(log(self.name.clone(), output, errors));
        let ended = tokio::select! {
            ended = process.wait() => ended,
            deadline = stopped(stop) => process.end(deadline.saturating_duration_since(Instant::now())).await,
        };
        if timeout(LAST_LINES, &mut lines).await.is_err() {
            lines.abort();
        }
        let end = ended.map_or_else(|error| error.to_string(), describe_exit);
        self.program().status.ended(&end);
        Some(end)
    }
}

async fn log(
    worker: String,
    output: Option<tokio::process::ChildStdout>,
    errors: Option<tokio::process::ChildStderr>,
) {
    let output = async {
        if let Some(output) = output {
            OutputLines::read(output, |line| tracing::info!(worker, "{line}")).await;
        }
    };
    let errors = async {
        if let Some(errors) = errors {
            OutputLines::read(errors, |line| tracing::warn!(worker, "{line}")).await;
        }
    };
    tokio::join!(output, errors);
}
