//! The load: so many connections, so many requests in flight on each, for so long.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use framework::hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What to send.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) address: String,
    pub(super) connections: usize,
    /// Requests of one connection without an answer at any time.
    pub(super) depth: usize,
    pub(super) duration: Duration,
    /// One request, with its line end.
    pub(super) request: Vec<u8>,
    /// How every answer has to begin; anything else is an error.
    pub(super) expected: &'static [u8],
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) answered: u64,
    pub(super) elapsed: Duration,
    /// From a request's departure to its answer, in microseconds.
    pub(super) latency: Histogram<u64>,
}

impl Load {
    /// Runs the load on the current runtime.
    ///
    /// # Errors
    /// When a connection cannot be opened, ends early, or answers anything but what is expected.
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

/// Keeps `depth` requests in flight until the time is over, then waits for the last answers.
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
    let mut room = load.depth;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = Instant::now();
        if now < until && room > 0 {
            stream.write_all(&block[..room * load.request.len()]).await?;
            in_flight.push_back((now, room));
            room = 0;
        }
        if in_flight.is_empty() {
            return Ok(latency);
        }
        let count = stream.read(&mut buffer).await?;
        ensure!(count > 0, "the server closed a connection with {room} of {} requests answered", load.depth);
        let count = answers.count(&buffer[..count])?;
        note(&mut latency, &mut in_flight, count);
        answered.fetch_add(count as u64, Ordering::Relaxed);
        room += count;
    }
}

/// Takes `count` answers off the oldest requests.
fn note(latency: &mut Histogram<u64>, in_flight: &mut VecDeque<(Instant, usize)>, mut count: usize) {
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

/// Counts whole lines and looks at the beginning of each.
struct Answers {
    expected: &'static [u8],
    /// How much of the current line's beginning was seen, or all of it and more.
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
            let end = framework::memchr::memchr(b'\n', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            let open = &self.expected[self.seen.min(self.expected.len())..];
            let compared = open.len().min(line.len());
            if line[..compared] != open[..compared] {
                bail!("unexpected answer: {}", String::from_utf8_lossy(line));
            }
            match end {
                Some(end) => {
                    ensure!(compared == open.len(), "an answer is cut off: {}", String::from_utf8_lossy(line));
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
    fn answers_are_counted_however_they_are_cut() {
        let stream = b"{\"task_id\":1}\n{\"task_id\":2}\n";
        for cut in 0..stream.len() {
            let mut answers = Answers::new(b"{\"task_id\":");
            let count = answers.count(&stream[..cut]).unwrap() + answers.count(&stream[cut..]).unwrap();
            assert_eq!(count, 2, "cut at {cut}");
        }
    }

    #[test]
    fn an_error_among_the_answers_is_not_counted_as_one() {
        let mut answers = Answers::new(b"{\"task_id\":");
        let error = answers.count(b"{\"task_id\":1}\n{\"status\":\"error\"}\n").unwrap_err();
        assert!(error.to_string().contains("\"error\""), "{error}");
    }
}
