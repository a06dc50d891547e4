//! The figures of a server as Prometheus reads them.

use std::fmt::Error;

use framework_protocol::views::{QueueDepth, ServerStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::process::ProcessFigures;
use super::task_figures::{DurationBuckets, SeriesFigures};
use crate::series::Series;
use crate::store::{DiskFigures, StoreFigures};

/// The text formats of Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    OpenMetrics,
    /// The older one, which every tool reads.
    Text,
}

impl Format {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// The figures of a server at one moment.
#[derive(Debug)]
pub(crate) struct Exposition {
    pub(crate) status: ServerStatus,
    pub(crate) store: StoreFigures,
    pub(crate) tasks: Vec<Series<SeriesFigures>>,
    pub(crate) process: ProcessFigures,
}

impl Exposition {
    /// The text of all figures.
    pub(crate) fn render(self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut rendered = String::new();
        let result = match format {
            Format::OpenMetrics => text::encode(&mut rendered, &registry),
            Format::Text => prometheus_text::encode(&mut rendered, &registry),
        };
        debug_assert!(result.is_ok(), "a string takes every text");
        rendered
    }
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut writer = MetricWriter(encoder);
        self.tasks(&mut writer)?;
        self.queues(&mut writer)?;
        self.server(&mut writer)?;
        if let Some(disk) = &self.store.disk {
            write_disk(disk, &mut writer)?;
        }
        self.process(&mut writer)
    }
}

/// The labels of a function's tasks in a queue.
type TaskLabels<'a> = [(&'static str, &'a str); 2];

fn labels<T>(series: &Series<T>) -> TaskLabels<'_> {
    [("function", &series.function), ("queue", &series.queue)]
}

impl Exposition {
    fn tasks(&self, writer: &mut MetricWriter) -> Result<(), Error> {
        let help = "Tasks that were accepted since the start of the process";
        let accepted = self.store.accepted.iter().map(|series| (labels(series), series.value));
        writer.counters("think_tasks_accepted", help, accepted)?;
        let help =
            "Tasks that have ended since the start of the process; one that was retried by hand ends again";
        let ended = self.tasks.iter().flat_map(|series| {
            let SeriesFigures { done, failed, cancelled, expired, .. } = series.value;
            let outcomes =
                [("done", done), ("failed", failed), ("cancelled", cancelled), ("expired", expired)];
            let [function, queue] = labels(series);
            outcomes.map(|(outcome, count)| ([function, queue, ("outcome", outcome)], count))
        });
        writer.counters("think_tasks_ended", help, ended)?;
        let help = "Attempts that have failed and are followed by another one";
        let retried = self.tasks.iter().map(|series| (labels(series), series.value.retried));
        writer.counters("think_attempts_retried", help, retried)?;
        let help = "Time from when tasks were due to their first attempt";
        writer.histograms("think_task_wait_seconds", help, &self.tasks, |figures| &figures.waited)?;
        let help = "Time that attempts took";
        writer.histograms("think_attempt_run_seconds", help, &self.tasks, |figures| &figures.ran)?;
        let ledger = &self.status.ledger;
        let states = [
            ("waiting", ledger.waiting),
            ("running", ledger.running),
            ("done", ledger.done),
            ("failed", ledger.failed),
            ("cancelled", ledger.cancelled),
            ("expired", ledger.expired),
        ];
        let help = "All tasks that the queue has ever accepted, by their state now";
        writer.gauges("think_tasks", help, states.map(|(state, count)| ([("state", state)], count as f64)))
    }

    fn queues(&self, writer: &mut MetricWriter) -> Result<(), Error> {
        type Count = fn(&QueueDepth) -> u64;
        let counts: [(&str, &str, Count); 5] = [
            ("think_queue_waiting", "Due tasks that wait for a worker", |depth| depth.waiting),
            ("think_queue_delayed", "Tasks that wait for their time or their batch", |depth| depth.delayed),
            ("think_queue_running", "Tasks that run", |depth| depth.running),
            ("think_queue_parked", "Due tasks whose function nobody runs", |depth| depth.parked),
            ("think_queue_paused", "1 while the queue is paused", |depth| u64::from(depth.paused)),
        ];
        for (name, help, count) in counts {
            let queues = self.status.queues.iter();
            let values = queues.map(|(queue, depth)| ([("queue", queue.as_str())], count(depth) as f64));
            writer.gauges(name, help, values)?;
        }
        let help = "Age of the due task that has waited longest; 0 when none is due";
        let oldest = self.status.oldest_waiting_ms.unwrap_or(0) as f64 / 1e3;
        writer.gauge("think_oldest_waiting_seconds", help, oldest)
    }

    fn server(&self, writer: &mut MetricWriter) -> Result<(), Error> {
        let ServerStatus { workers, connections, limits, .. } = &self.status;
        let states = [("busy", workers.busy), ("idle", workers.idle)];
        let states = states.map(|(state, count)| ([("state", state)], count as f64));
        writer.gauges("think_workers", "Workers of the server by whether they run a task", states)?;
        writer.gauge("think_connections", "Connections that are open", connections.current as f64)?;
        let help = "Connections that were accepted";
        writer.counter("think_connections_accepted", help, connections.total)?;
        let help = "Connections that were refused because a limit was reached";
        writer.counter("think_connections_refused", help, connections.refused)?;
        let hits = limits.iter().map(|(limit, count)| ([("limit", limit.as_str())], *count));
        writer.counters("think_limit_hits", "Times that a limit on clients was reached", hits)?;
        let unserved = self.status.unserved.len() as f64;
        let help = "Functions with waiting tasks that nobody runs";
        writer.gauge("think_unserved_functions", help, unserved)?;
        let refuses = f64::from(u8::from(self.status.storage_error.is_some()));
        writer.gauge("think_storage_refusing", "1 while the storage refuses tasks", refuses)?;
        let version = [("version", self.status.version.as_str()), ("store", self.status.store.as_str())];
        writer.gauges("think_build", "1; the labels tell the version", [(version, 1.0)])
    }

    /// Named as in the client libraries of Prometheus.
    fn process(&self, writer: &mut MetricWriter) -> Result<(), Error> {
        let help = "Time that the process has had on processors, in seconds";
        writer.float_counter("process_cpu_seconds", help, self.process.cpu_seconds)?;
        if let Some(bytes) = self.process.resident_bytes {
            writer.gauge("process_resident_memory_bytes", "Memory that the process has", bytes as f64)?;
        }
        if let Some(used) = self.status.open_files.used {
            writer.gauge("process_open_fds", "Files that the process has open", used as f64)?;
        }
        if let Some(limit) = self.status.open_files.limit {
            writer.gauge("process_max_fds", "Files that the process may have open", limit as f64)?;
        }
        let help = "Time since the server was started";
        writer.gauge("think_uptime_seconds", help, self.status.uptime_ms as f64 / 1e3)
    }
}

fn write_disk(disk: &DiskFigures, writer: &mut MetricWriter) -> Result<(), Error> {
    writer.counter("think_store_commits", "Transactions that were written", disk.commits)?;
    let help = "Time that the transactions took";
    writer.float_counter("think_store_commit_seconds", help, disk.commit_time.as_secs_f64())?;
    let help = "Tasks and events of tasks in the transactions";
    writer.counter("think_store_commit_entries", help, disk.entries)?;
    writer.gauge("think_store_file_bytes", "Size of the queue's file", disk.file_bytes as f64)?;
    writer.gauge("think_store_log_bytes", "Size of its write-ahead log", disk.log_bytes as f64)?;
    match disk.free_bytes {
        Some(free) => writer.gauge("think_store_free_bytes", "Room that the disk has left", free as f64),
        None => Ok(()),
    }
}

/// Writes one family of metrics after the other.
struct MetricWriter<'a>(DescriptorEncoder<'a>);

impl MetricWriter<'_> {
    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), Error> {
        self.family(name, help, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn float_counter(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        self.family(name, help, MetricType::Counter)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        self.family(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.family(name, help, MetricType::Counter)?;
        values.into_iter().try_for_each(|(labels, value)| {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) -> Result<(), Error> {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        values.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    fn histograms(
        &mut self,
        name: &str,
        help: &str,
        series: &[Series<SeriesFigures>],
        times: fn(&SeriesFigures) -> &DurationBuckets,
    ) -> Result<(), Error> {
        let mut family = self.family(name, help, MetricType::Histogram)?;
        series.iter().try_for_each(|series| {
            let (labels, times) = (labels(series), times(&series.value));
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(times.seconds(), times.count(), &times.buckets(), None)
        })
    }
}
