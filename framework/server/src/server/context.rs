//! The state that every connection needs.

use std::sync::Arc;
use std::time::Duration;

use super::events::DynEvents;
use super::metrics::Metrics;
use super::pages::Pages;
use super::service::Service;
use super::settings::ServerSettings;

/// The state that all connections share.
pub(super) struct SessionContext {
    pub(super) limits: SessionLimits,
    pub(super) events: Arc<dyn DynEvents>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) service: Arc<Service>,
    /// The pages for people, if there are any.
    pub(super) pages: Option<Arc<dyn Pages>>,
}

/// The settings that listeners and sessions read, under their names in [`ServerSettings`].
pub(super) struct SessionLimits {
    pub(super) max_connection: usize,
    pub(super) max_connection_per_address: usize,
    pub(super) package_max_length: usize,
    pub(super) max_output_buffer: usize,
    pub(super) max_in_flight: usize,
    pub(super) max_concurrent_receives: usize,
    pub(super) max_foreign_queues: usize,
    pub(super) auth_timeout: Duration,
    pub(super) heartbeat_idle_time: Duration,
    pub(super) max_http_header: usize,
    pub(super) max_http_headers: usize,
    pub(super) max_http_url: usize,
    pub(super) http_header_timeout: Duration,
    pub(super) http_body_timeout: Duration,
    pub(super) max_http_wait: Duration,
    pub(super) http_sse_keepalive: Duration,
    pub(super) ui_session_time: Duration,
    pub(super) websocket_ping_interval: Duration,
    pub(super) websocket_path: String,
    pub(super) websocket_protocols: Vec<String>,
    pub(super) origins: Vec<String>,
    pub(super) hosts: Vec<String>,
}

impl SessionContext {
    pub(super) fn new(
        settings: &ServerSettings,
        events: Arc<dyn DynEvents>,
        metrics: Arc<Metrics>,
        service: Arc<Service>,
        pages: Option<Arc<dyn Pages>>,
    ) -> Self {
        let pages = pages.filter(|_| settings.ui);
        Self { limits: SessionLimits::new(settings), events, metrics, service, pages }
    }
}

impl SessionLimits {
    fn new(settings: &ServerSettings) -> Self {
        Self {
            max_connection: settings.max_connection,
            max_connection_per_address: settings.max_connection_per_address,
            package_max_length: settings.package_max_length,
            max_output_buffer: settings.max_output_buffer,
            max_in_flight: settings.max_in_flight,
            max_concurrent_receives: settings.max_concurrent_receives,
            max_foreign_queues: settings.max_foreign_queues,
            auth_timeout: settings.auth_timeout,
            heartbeat_idle_time: settings.heartbeat_idle_time,
            max_http_header: settings.max_http_header,
            max_http_headers: settings.max_http_headers,
            max_http_url: settings.max_http_url,
            http_header_timeout: settings.http_header_timeout,
            http_body_timeout: settings.http_body_timeout,
            max_http_wait: settings.max_http_wait,
            http_sse_keepalive: settings.http_sse_keepalive,
            ui_session_time: settings.ui_session_time,
            websocket_ping_interval: settings.websocket_ping_interval,
            websocket_path: settings.websocket_path.clone(),
            websocket_protocols: settings.websocket_protocols.clone(),
            origins: settings.origins.clone(),
            hosts: settings.hosts.clone(),
        }
    }
}
