//! `task:start`: parses the options, and starts a server in the way that they ask for.

pub(super) mod daemon;
mod dev;
pub(super) mod pid_file;
mod process;
mod reload;
mod sd_notify;
pub(super) mod signals;
mod supervisor;

use std::sync::Arc;

use framework::config::{Config, Section};
use framework::log::{Format, Logging, tracing};
use framework::output::Verbosity;
use framework::prelude::*;
use framework::server::ServerSettings;

use self::process::{LaunchOptions, ServerProcess, take_pid_file};
use self::reload::TAKEOVER_FLAG;
use self::reload::child_side::OldProcess;
use self::reload::fd_channel::FdChannel;
use self::sd_notify::Notifier;
use self::signals::{Inherited, Signals};
use self::supervisor::link::SupervisorLink;

/// Start the task server
///
/// Runs in the foreground. Ctrl-C lets running tasks finish and ends it; a second Ctrl-C ends it at once.
/// With -d it runs in the background: the command returns as soon as the server is ready, or says why not.
/// Settings are in config/server.toml; the options below override them.
#[derive(Args, Command)]
#[command(name = "task:start")]
struct Start {
    /// Run in the background, and log to runtime/server.log unless log_file says otherwise
    #[arg(short, long)]
    daemon: bool,
    /// Run in the foreground, although the setting daemonize is on
    #[arg(long, conflicts_with = "daemon")]
    foreground: bool,
    /// Be the server in the background that `task:start -d` has started
    #[arg(long, hide = true)]
    detached: bool,
    /// Take over from the server that has started this process for a reload
    #[arg(long, hide = true)]
    takeover: bool,
    /// Be a server whose standard input is the channel to its supervisor
    #[arg(long, hide = true)]
    supervised: bool,
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
    const OWN_LOG: bool = true;
    const BLOCK: Option<&'static str> = Some("server");

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let mut old_process = self.takeover.then(OldProcess::connect).transpose()?;
        let result = self.start(app, old_process.as_mut(), output).await;
        if let (Some(old_process), Err(error)) = (&mut old_process, &result) {
            old_process.report_failure(error).await;
        }
        result
    }
}

impl Start {
    async fn start(
        &self,
        app: &App,
        old_process: Option<&mut OldProcess>,
        output: &mut Output,
    ) -> Result<()> {
        let config = app.config()?;
        config.check_all()?;
        let settings = self.settings(config.section()?)?;
        settings.check_files(config)?;
        if self.watch {
            return dev::run(config, &self.restart_arguments(), output).await;
        }
        let is_daemon = self.daemon || settings.daemonize && !self.foreground;
        config.check_runtime()?;
        if is_daemon && !self.detached {
            return daemon::launch(config, &self.restart_arguments(), output);
        }
        if self.detached {
            daemon::detach()?;
        }
        let channel = self.supervised.then(FdChannel::from_stdin).transpose()?;
        let inherited = if self.detached { Inherited::Replace } else { Inherited::Keep };
        let signals = Signals::listen(channel.map(SupervisorLink::new), inherited)?;
        let notifier = Notifier::start()?;
        // In a takeover the old process still has it.
        let pid_file = if self.takeover { None } else { take_pid_file(&settings, config)? };
        let log = logging(&settings, config, output.verbosity()).start()?;
        output.redirect_remarks(log.console());
        if let Err(error) = config.restrict_runtime() {
            tracing::warn!("runtime/ can be opened by other users: {error}");
        }
        let handlers = Arc::new(framework::functions::collect(config)?);
        let launch = self.launch_options(output);
        let mut process =
            ServerProcess { app, config, settings, handlers, launch, signals, log, pid_file, output };
        let result = process.run(old_process, &notifier).await;
        notifier.flush().await;
        result
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
        settings.check().map_err(|invalid| Exit::Usage.error(invalid.to_string()))?;
        Ok(settings)
    }

    fn launch_options(&self, output: &Output) -> LaunchOptions {
        let restart_arguments = self.restart_arguments();
        let mode = if self.detached { daemon::DETACHED } else { "--foreground" };
        let more = [mode, TAKEOVER_FLAG].into_iter().chain(daemon::verbosity(output));
        LaunchOptions {
            is_daemon: self.detached,
            is_takeover: self.takeover,
            takeover_arguments: restart_arguments.iter().cloned().chain(more.map(str::to_owned)).collect(),
            restart_arguments,
        }
    }

    /// The command line that starts a server with the same options.
    fn restart_arguments(&self) -> Vec<String> {
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
