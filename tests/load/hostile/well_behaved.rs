//! A well-behaved client, and the latency of its replies.

use std::fmt;
use std::time::{Duration, Instant};

use crate::harness::client::Client;
use crate::harness::server::Server;

/// A client that sends one request after the other.
pub(super) struct WellBehaved {
    client: Client,
    count: u64,
}

/// The latencies of the replies, in ascending order.
pub(super) struct Times(Vec<Duration>);

impl WellBehaved {
    pub(super) fn connect(server: &Server) -> Self {
        Self { client: server.connect(), count: 0 }
    }

    /// Sends at least this many requests, and continues while `goes_on`; every reply has to be right.
    pub(super) fn work(&mut self, at_least: usize, goes_on: impl Fn() -> bool) -> Times {
        let mut times = Vec::new();
        while times.len() < at_least || goes_on() {
            self.count += 1;
            let id = self.count;
            let request = format!(
                "{{\"function\":\"echo\",\"args\":\"number {id}\",\"reply\":\"result\",\"id\":{id}}}\n"
            );
            let sent = Instant::now();
            let answer = self.client.send(request).json();
            times.push(sent.elapsed());
            assert_eq!((&answer["id"], &answer["status"]), (&id.into(), &"done".into()), "{answer}");
        }
        times.sort_unstable();
        Times(times)
    }
}

impl fmt::Display for Times {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: usize| self.0[(self.0.len() * share / 100).min(self.0.len() - 1)];
        write!(formatter, "p50 {:?}, p99 {:?} of {} answers", at(50), at(99), self.0.len())
    }
}
