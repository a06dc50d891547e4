//! A panic in a handler fails its attempt, with its message and its place.

use framework_console::log::PanicReport;

use super::outcome::{Outcome, Retry};

impl Outcome {
    /// The outcome of an attempt that panicked.
    pub fn panicked(report: PanicReport) -> Self {
        let message = match report.place {
            Some(place) => format!("The handler panicked at {place}: {}", report.message),
            None => format!("The handler panicked: {}", report.message),
        };
        Self::failed(message, Retry::Backoff)
    }
}
