//! The report on a running server, made of its metrics and the store's counts.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use framework_protocol::views::{
    Connections, ListenAddress, ProgramInfo, ServerStatus, UnservedFunction, Workers,
};

use super::metrics::{Metrics, open_files};
use crate::store::StoreStats;

/// Reports on a server that listens on `addresses`; `unserved` are the registered functions that no worker
/// runs at the moment, and `programs` those that the server starts.
pub(super) async fn report(
    metrics: &Metrics,
    addresses: &[ListenAddress],
    mut unserved: Vec<UnservedFunction>,
    programs: Vec<ProgramInfo>,
    stopping: bool,
) -> ServerStatus {
    let StoreStats { ledger, queues, oldest_waiting_ms, storage_error, storage_warning } =
        metrics.store.counts().await;
    unserved.retain(|function| queues.get(&function.queue).is_some_and(|queue| queue.parked > 0));
    let worker_groups: BTreeMap<_, _> =
        metrics.groups.iter().map(|group| (group.name.clone(), group.workers())).collect();
    let (waiting_ms, running_ms) = metrics.latencies();
    ServerStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_ms: metrics.started.elapsed().as_millis() as u64,
        stopping,
        addresses: addresses.to_vec(),
        store: metrics.store.name().to_owned(),
        durability: metrics.store.durability(),
        storage_error,
        storage_warning,
        threads: metrics.threads,
        workers: worker_groups.values().copied().fold(Workers::default(), |sum, group| Workers {
            total: sum.total + group.total,
            busy: sum.busy + group.busy,
            idle: sum.idle + group.idle,
        }),
        worker_groups,
        connections: Connections {
            current: metrics.connections.current.load(Ordering::Relaxed),
            total: metrics.connections.total.load(Ordering::Relaxed),
            refused: metrics.connections.refused.load(Ordering::Relaxed),
        },
        open_files: open_files(),
        unserved,
        programs,
        limits: metrics.limits.report(),
        queues,
        oldest_waiting_ms,
        rates: metrics.rates(&ledger),
        waiting_ms,
        running_ms,
        ledger,
    }
}
