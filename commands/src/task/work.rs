//! `task:work`: runs the tasks of a server elsewhere by the handlers of this program.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use framework::client::{WorkerOptions, WorkerStop, work_over};
use framework::log::{Format, Logging};
use framework::output::Verbosity;
use framework::prelude::*;
use framework::protocol::worker::registration;
use framework::server::{HandlerRunner, ServerSettings, events_of};
use framework::task::{Handler, Handlers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::options::server_address::{ServerAddress, exit_error, parse_duration};

/// Longer than any attempt takes.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Run the tasks of a server on this machine
///
/// Connects to a task server, here or elsewhere, and runs its tasks by the handlers of this program, as far
/// as the server has the same arguments for them. When the server is away, as for a restart, it connects
/// again. Ctrl-C takes no further tasks and lets the running ones finish; a second Ctrl-C ends it at once.
#[derive(Args, Command)]
#[command(name = "task:work")]
struct Work {
    /// Only tasks in this queue; may be repeated
    #[arg(long, value_name = "NAME")]
    queue: Vec<String>,
    /// Only this function; may be repeated
    #[arg(long, value_name = "NAME")]
    function: Vec<String>,
    /// How many tasks may run at once [default: task_worker_num of config/server.toml, 16 per core]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: Option<u32>,
    /// Grace period for running tasks, such as 30s [default: max_wait_time of config/server.toml]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// Run one task at a time for the server that has started this process, over its standard input
    #[arg(long, hide = true)]
    isolated: bool,
    /// Name of the worker, as task:workers shows it [default: the name of the machine, and the pid]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How log lines look
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Work {
    const BLOCK: Option<&'static str> = Some("server");

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let (config, settings) = (app.config()?, app.config()?.section::<ServerSettings>()?);
        let handlers = Arc::new(framework::functions::collect(config)?);
        let chosen = self.choose(&handlers)?;
        let concurrency = match self.concurrency {
            _ if self.isolated => 1,
            Some(concurrency) => concurrency,
            None if settings.task_worker_num == 0 => 16 * settings.task_threads as u32,
            None => settings.task_worker_num as u32,
        };
        let options = WorkerOptions {
            name: self.name.clone().unwrap_or_else(own_name),
            language: concat!("rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            functions: chosen.iter().map(|handler| registration(handler)).collect(),
            queues: self.queue.clone(),
            concurrency,
            // A server sees to its own processes.
            grace: if self.isolated { FOREVER } else { self.grace.unwrap_or(settings.max_wait_time) },
        };
        let log = self.logging(&settings, config, output.verbosity()).start()?;
        output.redirect_remarks(log.console());
        let stop = stop_by_signals()?;
        let runner = |threads| {
            HandlerRunner::new(
                config.clone(),
                handlers.clone(),
                events_of(app),
                threads,
                concurrency as usize,
            )
        };
        let is_killed = stop.clone();
        let worked = if self.isolated {
            // Otherwise `top` would show the name of the file that a server starts its own program by.
            let _ = std::fs::write("/proc/self/comm", &options.name);
            let connection = take_stdin()?;
            work_over(connection, &options, &handlers, &mut runner(1)?, stop).await
        } else {
            let client = self.server.connect(app).await?;
            client.work(&options, &handlers, &mut runner(settings.task_threads)?, stop).await
        };
        worked.map_err(exit_error)?;
        if *is_killed.borrow() == WorkerStop::Now {
            return Err(Exit::Interrupted.error("interrupted: running tasks go back to the server"));
        }
        Ok(())
    }
}

impl Work {
    /// The handlers whose tasks are to run here.
    fn choose(&self, handlers: &Handlers) -> Result<Vec<&'static Handler>> {
        for name in &self.queue {
            handlers.queue(name).map_err(|error| Exit::Usage.error(error.to_string()))?;
        }
        if self.function.is_empty() {
            return Ok(handlers.iter().collect());
        }
        let find = |name: &String| handlers.find(name).map_err(|error| Exit::Usage.error(error.to_string()));
        let mut chosen: Vec<_> = self.function.iter().map(find).collect::<Result<_>>()?;
        chosen.sort_by_key(|handler| handler.name);
        chosen.dedup_by_key(|handler| handler.name);
        Ok(chosen)
    }

    /// A log on stderr: the file of the settings is that of a server.
    fn logging(
        &self,
        settings: &ServerSettings,
        config: &framework::config::Config,
        verbosity: Verbosity,
    ) -> Logging {
        let logging = settings.logging(config);
        let (quiet, verbose) = match verbosity {
            Verbosity::Quiet => (true, 0),
            Verbosity::Normal => (false, 0),
            Verbosity::Verbose(level) => (false, level),
        };
        let format = self.log_format.unwrap_or(logging.format);
        Logging { level: logging.level.adjusted(quiet, verbose), format, file: None, ..logging }
    }
}

/// Takes the connection that a server has passed as standard input, which is `/dev/null` from then on.
fn take_stdin() -> Result<UnixStream> {
    let stream = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    stream.peer_addr().context("the standard input is no connection to a server")?;
    let null = File::open("/dev/null").context("opening /dev/null")?;
    rustix::stdio::dup2_stdin(null).context("closing the standard input")?;
    Ok(stream)
}

/// The name of a worker that is given none: `host:pid`.
fn own_name() -> String {
    let system = rustix::system::uname();
    format!("{}:{}", system.nodename().to_string_lossy(), std::process::id())
}

/// Asks to stop at the first signal, and to stop at once at the second one.
fn stop_by_signals() -> Result<watch::Receiver<WorkerStop>> {
    let listen = |kind| signal(kind).context("listening for signals");
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut quit = listen(SignalKind::quit())?;
    let (sender, stop) = watch::channel(WorkerStop::No);
    tokio::spawn(async move {
        for wanted in [WorkerStop::Graceful, WorkerStop::Now] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = quit.recv() => {}
            }
            sender.send_replace(wanted);
        }
        sender.closed().await;
    });
    Ok(stop)
}
