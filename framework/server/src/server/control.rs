//! The requests that concern the server as a whole: its shutdown and its reload.

use std::sync::Arc;
use std::time::Duration;

use super::shutdown::ShutdownControl;
use super::takeover::control::ReloadControl;
use crate::store::Store;

/// The requests that concern the server as a whole. Cheap to clone.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) shutdown: Arc<ShutdownControl>,
    pub(super) reload: Arc<ReloadControl>,
}

impl Control {
    /// `grace` is the time for running tasks where a request names none.
    pub(super) fn new(store: &Arc<dyn Store>, grace: Duration) -> Self {
        Self {
            shutdown: Arc::new(ShutdownControl::new(store.clone(), grace)),
            reload: Arc::new(ReloadControl::new(store.clone(), grace)),
        }
    }
}
