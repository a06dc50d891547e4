//! The load generator: connections with a number of requests in flight each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The parameters of the load.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) address: String,
    pub(super) connections: usize,
    /// The number of requests in flight per connection.
    pub(super) depth: usize,
    pub(super) duration: Duration,
    /// One request, with its line end.
    pub(super) request: Vec<u8>,
    /// The beginning of every valid reply.
    pub(super) expected: &'static [u8],
}

/// The result of the load.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) answered: u64,
    pub(super) elapsed: Duration,
    /// The time from request to reply, in microseconds.
    pub(super) latency: Histogram<u64>,
}

impl Load {
    /// Runs the load on the current runtime.
    ///
    /// # Errors
    /// When a connection cannot be opened, ends early, or sends an unexpected reply.
    pub(super) async fn run(&self) -> Result<Measured> {
        let mut streams = Vec::with_capacity(self.connections);
        for number in 0..self.connections {
            let stream = TcpStream::connect(&self.address).await;
            let stream = stream.with_context(|| format!("connection {} to {}", number + 1, self.address))?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let answered = Arc::new(AtomicU64::new(0));
        let begin = Instant::now();
        let mut running = JoinSet::new();
        for stream in streams {
            running.spawn(drive(self.clone(), stream, begin + self.duration, answered.clone()));
        }
        let mut latency = histogram();
        while let Some(finished) = running.join_next().await {
            latency.add(finished??).context("adding up latencies")?;
        }
        Ok(Measured { answered: answered.load(Ordering::Relaxed), elapsed: begin.elapsed(), latency })
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("these bounds are constants and in order")
}

/// Keeps `depth` requests in flight until the time is over, then waits for the last replies.
async fn drive(
    load: Load,
    mut stream: TcpStream,
    until: Instant,
    answered: Arc<AtomicU64>,
) -> Result<Histogram<u64>> {
    let mut latency = histogram();
    let block = load.request.repeat(load.depth);
    let mut answers = Answers::new(load.expected);
    let mut in_flight: VecDeque<(Instant, usize)> = VecDeque::new();
    let mut permits = load.depth;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = Instant::now();
        if now < until && permits > 0 {
            stream.write_all(&block[..permits * load.request.len()]).await?;
            in_flight.push_back((now, permits));
            permits = 0;
        }
        if in_flight.is_empty() {
            return Ok(latency);
        }
        let count = stream.read(&mut buffer).await?;
        ensure!(
            count > 0,
            "the server closed a connection with {permits} of {} requests answered",
            load.depth
        );
        let count = answers.count(&buffer[..count])?;
        record(&mut latency, &mut in_flight, count);
        answered.fetch_add(count as u64, Ordering::Relaxed);
        permits += count;
    }
}

/// Records the latency of `count` replies, which belong to the oldest requests.
fn record(latency: &mut Histogram<u64>, in_flight: &mut VecDeque<(Instant, usize)>, mut count: usize) {
    let now = Instant::now();
    while let Some((sent, waiting)) = in_flight.front_mut() {
        let taken = count.min(*waiting);
        let micros = now.duration_since(*sent).as_micros() as u64;
        latency.saturating_record_n(micros, taken as u64);
        *waiting -= taken;
        count -= taken;
        if *waiting > 0 {
            return;
        }
        in_flight.pop_front();
    }
}

/// Counts whole lines and checks the beginning of each.
struct Answers {
    expected: &'static [u8],
    /// The number of bytes of the current line so far.
    seen: usize,
}

impl Answers {
    fn new(expected: &'static [u8]) -> Self {
        Self { expected, seen: 0 }
    }

    fn count(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut count = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            let open = &self.expected[self.seen.min(self.expected.len())..];
            let compared = open.len().min(line.len());
            if line[..compared] != open[..compared] {
                bail!("unexpected answer: {}", String::from_utf8_lossy(line));
            }
            match end {
                Some(end) => {
                    ensure!(
                        compared == open.len(),
                        "an answer is cut off: {}",
                        String::from_utf8_lossy(line)
                    );
                    self.seen = 0;
                    count += 1;
                    rest = &rest[end + 1..];
                }
                None => {
                    self.seen += line.len();
                    rest = &[];
                }
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_however_they_are_split() {
        let stream = b"{\"task_id\":1}\n{\"task_id\":2}\n";
        for cut in 0..stream.len() {
            let mut answers = Answers::new(b"{\"task_id\":");
            let count = answers.count(&stream[..cut]).unwrap() + answers.count(&stream[cut..]).unwrap();
            assert_eq!(count, 2, "cut at {cut}");
        }
    }

    #[test]
    fn answers_refuse_an_error() {
        let mut answers = Answers::new(b"{\"task_id\":");
        let error = answers.count(b"{\"task_id\":1}\n{\"status\":\"error\"}\n").unwrap_err();
        assert!(error.to_string().contains("\"error\""), "{error}");
    }
}
