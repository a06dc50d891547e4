//! `task:start`: boots the task server.

pub(super) mod daemon;
mod keeper;
mod kept;
mod passing;
mod predecessor;
mod service;
mod signals;
mod successor;
mod term;
mod watching;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use framework::config::{Config, Section};
use framework::log::{Format, Logging};
use framework::output::Verbosity;
use framework::prelude::*;
use framework::server::ServerSettings;
use framework::task::Handlers;

use self::predecessor::Predecessor;
use self::service::Service;
use self::signals::Signals;
use self::successor::SUCCEED;
use self::term::Term;
use super::pid_file::PidFile;

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
    /// Be the server that takes the place of another process, which has started it
    #[arg(long, hide = true)]
    succeed: bool,
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
        let mut predecessor = self.succeed.then(Predecessor::find).transpose()?;
        let result = self.start(app, predecessor.as_mut(), output).await;
        if let (Some(predecessor), Err(error)) = (&mut predecessor, &result) {
            predecessor.failed(error).await;
        }
        result
    }
}

impl Start {
    async fn start(
        &self,
        app: &App,
        predecessor: Option<&mut Predecessor>,
        output: &mut Output,
    ) -> Result<()> {
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
        let signals = Signals::listen(self.keeper)?;
        let service = Service::find()?;
        // One that succeeds another gets it from that.
        let pid_file = if self.succeed { None } else { take_pid_file(&settings, config)? };
        let log = logging(&settings, config, output.verbosity()).start()?;
        let handlers = Arc::new(Handlers::collect()?);
        let again = AtomicBool::new(false);
        let mut term =
            Term { start: self, app, config, settings, handlers, signals, log, pid_file, again, output };
        term.serve(predecessor, &service).await
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

    /// The command line of the server that takes the place of this one.
    fn arguments_to_succeed(&self, output: &Output) -> Vec<String> {
        let ground = if self.detached { daemon::DETACHED } else { "--foreground" };
        let more = [ground, SUCCEED].into_iter().chain(daemon::verbosity(output));
        self.arguments().into_iter().chain(more.map(str::to_owned)).collect()
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

/// Leaves the number of this process where others find it.
fn take_pid_file(settings: &ServerSettings, config: &Config) -> Result<Option<PidFile>> {
    settings.pid_file.as_ref().map(|file| PidFile::take(&config.root().join(file))).transpose()
}
