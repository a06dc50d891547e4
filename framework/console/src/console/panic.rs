//! Turns a panic in a command into an error.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;

use anyhow::{Result, anyhow};
use futures_util::FutureExt;

use crate::log::{PanicReport, capture_panics, take_panic};

/// Runs a command; if it panics, the error names the place and the reason.
///
/// Panics are captured while the command is polled: other futures and threads keep the usual message.
pub(super) async fn catch_panic(command: impl Future<Output = Result<()>>) -> Result<()> {
    let mut command = pin!(AssertUnwindSafe(command).catch_unwind());
    let result = poll_fn(|context| capture_panics(|| command.as_mut().poll(context))).await;
    result.unwrap_or_else(|payload| Err(error(take_panic(payload))))
}

fn error(report: PanicReport) -> anyhow::Error {
    let PanicReport { place, message, backtrace } = report;
    let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
    let backtrace = backtrace.map(|backtrace| format!("\n{backtrace}")).unwrap_or_default();
    anyhow!("the command panicked{place}: {message}{backtrace}")
}
