//! Counters of the limits on what clients can make grow.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A bound on what clients may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    MaxConnection,
    MaxConnectionPerAddress,
    PackageMaxLength,
    MaxOutputBuffer,
    HeartbeatIdleTime,
    AuthTimeout,
    /// A wrong token: not a setting, but a number to watch.
    FailedAuth,
    MaxHttpHeader,
    HttpHeaderTimeout,
    MaxHttpUrl,
    HttpBodyTimeout,
    WebsocketPingInterval,
    MaxOpenBatches,
    /// JSON nested deeper than a handler's arguments are read; fixed at 128.
    JsonNesting,
    /// A connection without the header of the PROXY protocol where the listener requires it: no setting.
    ProxyHeader,
    MaxWorkers,
    MaxWorkerFunctions,
    MaxRegisteredFunctions,
    MaxFunctionSchema,
}

impl Limit {
    /// Every limit in the order of its variants, with the name of its setting.
    const ALL: [(Self, &'static str); 19] = [
        (Self::MaxConnection, "max_connection"),
        (Self::MaxConnectionPerAddress, "max_connection_per_address"),
        (Self::PackageMaxLength, "package_max_length"),
        (Self::MaxOutputBuffer, "max_output_buffer"),
        (Self::HeartbeatIdleTime, "heartbeat_idle_time"),
        (Self::AuthTimeout, "auth_timeout"),
        (Self::FailedAuth, "failed_auth"),
        (Self::MaxHttpHeader, "max_http_header"),
        (Self::HttpHeaderTimeout, "http_header_timeout"),
        (Self::MaxHttpUrl, "max_http_url"),
        (Self::HttpBodyTimeout, "http_body_timeout"),
        (Self::WebsocketPingInterval, "websocket_ping_interval"),
        (Self::MaxOpenBatches, "max_open_batches"),
        (Self::JsonNesting, "json_nesting"),
        (Self::ProxyHeader, "proxy_header"),
        (Self::MaxWorkers, "max_workers"),
        (Self::MaxWorkerFunctions, "max_worker_functions"),
        (Self::MaxRegisteredFunctions, "max_registered_functions"),
        (Self::MaxFunctionSchema, "max_function_schema"),
    ];
}

/// The number of times that each limit was reached since the start.
#[derive(Debug, Default)]
pub(crate) struct Limits([AtomicU64; Limit::ALL.len()]);

impl Limits {
    /// Counts that this limit was reached.
    pub(crate) fn hit(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of all limits by name, including zeros.
    pub(crate) fn report(&self) -> BTreeMap<String, u64> {
        let count = |limit: Limit| self.0[limit as usize].load(Ordering::Relaxed);
        Limit::ALL.iter().map(|(limit, name)| ((*name).to_owned(), count(*limit))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_counts_under_its_own_name() {
        let limits = Limits::default();
        for (index, (limit, name)) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index, "{name} stands in its place");
            limits.hit(limit);
        }
        assert!(limits.report().values().all(|count| *count == 1));
        assert_eq!(limits.report().len(), Limit::ALL.len());
    }
}
