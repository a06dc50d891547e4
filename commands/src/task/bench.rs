//! `task:bench`: how fast the server is, and how fast it could be.

mod baseline;
mod load;
mod noop;

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use framework::client::Client;
use framework::prelude::*;
use framework::views::Ledger;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use self::load::{Load, Measured};
use super::server_address::{ServerAddress, exit_error, parse_duration};

/// Put a load on the server and measure it
///
/// Every connection keeps so many requests in flight that do nothing (function noop), and the clock runs until
/// the server has finished them all. Start the server with -q, or its log lines are what you measure.
#[derive(Args, Command)]
#[command(name = "task:bench")]
struct Bench {
    /// How many connections
    #[arg(short, long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// How many requests of each connection are in flight
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    depth: u16,
    /// How long a request is, in bytes
    #[arg(short, long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(80..=1_000_000))]
    size: u32,
    /// How long to keep it up
    #[arg(short, long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    time: Duration,
    /// Wait for the result of each task, not just for its acknowledgement
    #[arg(long)]
    wait: bool,
    /// Measure a bare line server as well, and give every figure as a share of it
    #[arg(long)]
    echo: bool,
    /// Let the bare server write each request to a file in runtime/ and sync it, as one has to that keeps its word
    #[arg(long, requires = "echo")]
    sync: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Bench {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let address = self.server.resolve(app)?;
        let mut client = self.server.connect(app).await?;
        let before = client.status().await.map_err(exit_error)?.ledger;
        let echo = match self.echo {
            true => Some(measure(self.echo_load(), threads, Some(self.bare_server(app)?)).await?),
            false => None,
        };
        output.note(format_args!("{self}; {threads} threads for the load"));
        let load = self.load(address);
        let begin = std::time::Instant::now();
        let measured = measure(load, threads, None).await?;
        let after = drained(&mut client, &before).await?;
        let took = begin.elapsed();
        let report = Report::new(&self, &measured, &before, &after, took, echo.as_ref());
        match self.json {
            true => output.json(&report)?,
            false => report.print(output),
        }
        match report.lost {
            0 => Ok(()),
            lost => Err(Exit::Failed.error(format!("{lost} acknowledged tasks were not finished"))),
        }
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
    fn load(&self, address: String) -> Load {
        let (extra, expected): (_, &[u8]) = match self.wait {
            true => (r#""id":1,"reply":"result","#, br#"{"id":1,"task_id":"#),
            false => ("", br#"{"task_id":"#),
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
        let folder = || Ok::<_, anyhow::Error>(app.config()?.root().join("runtime"));
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

/// The server that ours is compared to.
struct BareServer {
    /// Where it writes what it is sent.
    file: Option<Arc<File>>,
}

/// Runs the load on threads of its own, as many as the machine has.
async fn measure(mut load: Load, threads: usize, bare: Option<BareServer>) -> Result<Measured> {
    let run = move || {
        // The bare server has threads apart from those of the load, as the real one has.
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

/// The books once the server has finished what it had accepted.
async fn drained(client: &mut Client, before: &Ledger) -> Result<Ledger> {
    const POLL: Duration = Duration::from_millis(2);
    const PATIENCE: Duration = Duration::from_secs(60);
    let open = before.waiting + before.running;
    let wait = async {
        loop {
            let ledger = client.status().await.map_err(exit_error)?.ledger;
            if ledger.waiting + ledger.running <= open {
                return Ok(ledger);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.context("the server has not finished its tasks after 60 s")?
}

/// What was measured, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    connections: u16,
    depth: u16,
    size: u32,
    /// Answers a second.
    acknowledged_per_second: u64,
    /// Ended tasks a second, until the last one has ended.
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

/// The bare server in the same run.
#[derive(Debug, Serialize)]
struct Echo {
    answered_per_second: u64,
    latency_us: Latency,
    /// The task server's answers a second, as a share of the bare server's.
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

impl Report {
    fn new(
        bench: &Bench,
        measured: &Measured,
        before: &Ledger,
        after: &Ledger,
        took: Duration,
        echo: Option<&Measured>,
    ) -> Self {
        let ended = after.ended() - before.ended();
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
