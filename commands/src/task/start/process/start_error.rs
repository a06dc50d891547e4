//! Why a server could not start, in terms of what the operator can do about it.

use std::io;
use std::time::Duration;

use framework::client::Client;
use framework::prelude::*;
use framework::server::{AlreadyRunning, ServerSettings};
use framework::store::StoreInUse;
use framework::store::sqlite::QueueLocked;

use crate::options::server_address::address_of;

/// A queue that another process uses means that a server runs already.
pub(super) fn queue_in_use(error: anyhow::Error) -> anyhow::Error {
    let locked = error.downcast_ref::<QueueLocked>().map(ToString::to_string);
    match locked.or_else(|| error.downcast_ref::<StoreInUse>().map(ToString::to_string)) {
        Some(in_use) => Exit::AlreadyRunning.error(in_use),
        None => error,
    }
}

/// Tells an address that a task server has from any other failure.
pub(super) async fn explain(error: anyhow::Error, settings: &ServerSettings) -> anyhow::Error {
    const TIMEOUT: Duration = Duration::from_secs(1);
    if error.is::<AlreadyRunning>() {
        return Exit::AlreadyRunning.error(format!("{error:#}"));
    }
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    if kind != Some(io::ErrorKind::AddrInUse) {
        return error;
    }
    let address = address_of(settings);
    let status = async { Client::connect(&address, TIMEOUT).await?.status().await };
    match tokio::time::timeout(TIMEOUT, status).await {
        Ok(Ok(status)) => Exit::AlreadyRunning
            .error(format!("a task server runs on {address} already, with pid {}", status.pid)),
        _ => error.context("another program has the address; choose another --port"),
    }
}
