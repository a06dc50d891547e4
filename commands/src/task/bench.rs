//! `task:bench`: measures throughput and latency of the server.

mod baseline;
mod load;
mod noop;
mod remote;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use framework::client::Client;
use framework::prelude::*;
use framework::views::Ledger;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use self::load::{Load, Measured};
use self::remote::BenchWorker;
use super::registered_functions::{self, RegisteredFunction};
use crate::options::server_address::{ServerAddress, exit_error, parse_duration};

/// Measure throughput and latency of the server
///
/// Every connection keeps a number of requests in flight that do nothing (function noop), until the time is
/// over and the server has finished all of them. Start the server with -q, to measure the server and not its
/// log.
#[derive(Args, Command)]
#[command(name = "task:bench")]
struct Bench {
    /// Number of connections
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// Requests in flight per connection
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    depth: u16,
    /// Size of a request, in bytes
    #[arg(short, long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(80..=1_000_000))]
    size: u32,
    /// Duration of the load
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    time: Duration,
    /// Wait for the result of each task instead of its acknowledgement
    #[arg(long)]
    wait: bool,
    /// Also measure a bare echo server, as a baseline
    #[arg(long)]
    echo: bool,
    /// With --echo: let the bare server write every request to a file in runtime/ and sync it
    #[arg(long, requires = "echo")]
    sync: bool,
    /// Who runs the tasks: the server; one worker outside of it, for a server that was started with
    /// --workers 0; or the server's child processes, for one with isolated = ["noop"]
    #[arg(long, value_name = "WHO", default_value = "server")]
    workers: BenchWorkers,
    /// With --workers remote: how many tasks the worker may hold
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    credit: u32,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

/// Who runs the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BenchWorkers {
    Server,
    Remote,
    Isolated,
}

impl Execute for Bench {
    const BLOCK: Option<&'static str> = Some("server");

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let mut client = self.server.connect(app).await?;
        let status = client.status().await.map_err(exit_error)?;
        let worker = match self.workers {
            BenchWorkers::Server => None,
            BenchWorkers::Isolated => self.check_isolated(app).await.map(|()| None)?,
            BenchWorkers::Remote => {
                Some(BenchWorker::start(app, self.server.connect(app).await?, &status, self.credit)?)
            }
        };
        let (address, before) = (self.server.resolve(app, &status)?, status.ledger);
        let mut echo = None;
        if self.echo {
            echo = Some(measure(self.echo_load(), threads, Some(self.bare_server(app)?)).await?);
        }
        output.note(format_args!("{self}; {threads} load threads"));
        let load = self.load(address);
        let begin = std::time::Instant::now();
        let measured = measure(load, threads, None).await?;
        let after = drained(&mut client, &before).await?;
        let took = begin.elapsed();
        if let Some(worker) = worker {
            worker.finish().await?;
        }
        let report = BenchReport::new(&self, &measured, &before, &after, took, echo.as_ref());
        if self.json {
            output.json(&report)?;
        } else {
            report.print(output);
        }
        if report.lost > 0 {
            return Err(Exit::Failed.error(format!("{} acknowledged tasks were not finished", report.lost)));
        }
        Ok(())
    }
}

impl std::fmt::Display for Bench {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { connections, depth, size, .. } = self;
        let until = if self.wait { "result" } else { "acknowledgement" };
        write!(
            formatter,
            "{connections} connections x {depth} in flight, {size} bytes each, until the {until}"
        )
    }
}

impl Bench {
    /// Checks that the tasks run in child processes of the server.
    async fn check_isolated(&self, app: &App) -> Result<()> {
        match registered_functions::find(&self.server, app, "noop").await {
            RegisteredFunction::Known(noop) if noop.isolated => Ok(()),
            _ => {
                let reason =
                    "the server runs the tasks itself: write isolated = [\"noop\"] in config/server.toml";
                Err(Exit::Usage.error(reason))
            }
        }
    }

    fn load(&self, address: String) -> Load {
        let (extra, expected): (_, &[u8]) = if self.wait {
            (r#""id":1,"reply":"result","#, br#"{"id":1,"task_id":"#)
        } else {
            ("", br#"{"task_id":"#)
        };
        Load {
            address,
            connections: self.connections.into(),
            depth: self.depth.into(),
            duration: self.time,
            request: self.request(extra),
            expected,
        }
    }

    fn bare_server(&self, app: &App) -> Result<BareServer> {
        let folder = || Ok::<_, anyhow::Error>(app.config()?.runtime_dir().to_owned());
        Ok(BareServer { file: if self.sync { Some(baseline::file(&folder()?)?) } else { None } })
    }

    fn echo_load(&self) -> Load {
        Load { expected: baseline::ANSWER.trim_ascii_end(), ..self.load(String::new()) }
    }

    fn request(&self, extra: &str) -> Vec<u8> {
        let head = format!(r#"{{"function":"noop",{extra}"args":{{"payload":""#);
        let tail = "\"}}\n";
        let padding = (self.size as usize).saturating_sub(head.len() + tail.len());
        [head.as_bytes(), &vec![b'x'; padding], tail.as_bytes()].concat()
    }
}

/// The echo server that serves as baseline.
struct BareServer {
    /// The file that requests are written to.
    file: Option<Arc<File>>,
}

/// Runs the load on threads of its own, one per processor.
async fn measure(mut load: Load, threads: usize, bare: Option<BareServer>) -> Result<Measured> {
    let run = move || {
        // The bare server has threads of its own, like the real one.
        let server = runtime(threads)?;
        if let Some(BareServer { file }) = bare {
            load.address = server.block_on(baseline::listen(file))?.to_string();
        }
        let measured = runtime(threads)?.block_on(load.run());
        server.shutdown_background();
        measured
    };
    tokio::task::spawn_blocking(run).await.context("the load generator")?
}

fn runtime(threads: usize) -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(threads).enable_all().build()?)
}

/// The ledger once the server has finished all accepted tasks.
async fn drained(client: &mut Client, before: &Ledger) -> Result<Ledger> {
    const POLL_INTERVAL: Duration = Duration::from_millis(2);
    const TIMEOUT: Duration = Duration::from_secs(60);
    let open = before.waiting + before.running;
    let wait = async {
        loop {
            let ledger = client.status().await.map_err(exit_error)?.ledger;
            if ledger.waiting + ledger.running <= open {
                return Ok(ledger);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(TIMEOUT, wait).await.context("the server has not finished its tasks after 60 s")?
}

/// The measurement as `--json` prints it.
#[derive(Debug, Serialize)]
struct BenchReport {
    connections: u16,
    depth: u16,
    size: u32,
    /// Replies per second.
    acknowledged_per_second: u64,
    /// Ended tasks per second, until the last one has ended.
    finished_per_second: u64,
    latency_us: Latency,
    /// Acknowledged tasks that have not ended: must be 0.
    lost: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    echo: Option<Echo>,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    #[serde(rename = "p99.9")]
    p99_9: u64,
    max: u64,
}

/// The measurement of the bare server in the same run.
#[derive(Debug, Serialize)]
struct Echo {
    answered_per_second: u64,
    latency_us: Latency,
    /// The task server's replies per second, as a share of the bare server's.
    share: f64,
    /// The task server's median latency, as a multiple of the bare server's.
    latency_ratio: f64,
}

impl Latency {
    fn of(measured: &Measured) -> Self {
        let at = |quantile| measured.latency.value_at_quantile(quantile);
        Self { p50: at(0.5), p99: at(0.99), p99_9: at(0.999), max: measured.latency.max() }
    }
}

impl BenchReport {
    fn new(
        bench: &Bench,
        measured: &Measured,
        before: &Ledger,
        after: &Ledger,
        took: Duration,
        echo: Option<&Measured>,
    ) -> Self {
        let ended = after.ended().saturating_sub(before.ended());
        let acknowledged = per_second(measured.answered, measured.elapsed);
        Self {
            connections: bench.connections,
            depth: bench.depth,
            size: bench.size,
            acknowledged_per_second: acknowledged,
            finished_per_second: per_second(ended, took),
            latency_us: Latency::of(measured),
            lost: measured.answered.saturating_sub(ended),
            echo: echo.map(|echo| {
                let answered = per_second(echo.answered, echo.elapsed);
                let (bare, ours) = (Latency::of(echo), Latency::of(measured));
                Echo {
                    answered_per_second: answered,
                    share: acknowledged as f64 / answered.max(1) as f64,
                    latency_ratio: ours.p50 as f64 / bare.p50.max(1) as f64,
                    latency_us: bare,
                }
            }),
        }
    }

    fn print(&self, output: &mut Output) {
        let row = |name: &str, rate: u64, finished: String, latency: &Latency, lost: String| {
            let Latency { p50, p99, p99_9, max } = latency;
            let latencies = [p50, p99, p99_9, max].map(|micros| format!("{micros} us"));
            let [p50, p99, p99_9, max] = latencies;
            [name.to_owned(), rate.to_string(), finished, p50, p99, p99_9, max, lost]
        };
        let finished = self.finished_per_second.to_string();
        let rate = self.acknowledged_per_second;
        let mut rows = vec![row("noop", rate, finished, &self.latency_us, self.lost.to_string())];
        if let Some(echo) = &self.echo {
            let none = || "-".to_owned();
            rows.push(row("bare echo", echo.answered_per_second, none(), &echo.latency_us, none()));
        }
        let headings = ["", "answered/s", "finished/s", "p50", "p99", "p99.9", "max", "lost"];
        output.table(headings, &rows);
        if let Some(echo) = &self.echo {
            let (share, ratio) = (echo.share * 100.0, echo.latency_ratio);
            output.line(format_args!(
                "{share:.1}% of the bare server's rate, {ratio:.2} times its median latency"
            ));
        }
    }
}

fn per_second(count: u64, time: Duration) -> u64 {
    (count as f64 / time.as_secs_f64()) as u64
}
