//! A panic in a handler fails its attempt, with its message and its place.

use std::any::Any;

use framework_console::log::take_panic;

use super::outcome::{Outcome, Retry};

/// The outcome of an attempt that panicked on this thread just now.
pub fn caught(payload: Box<dyn Any + Send>) -> Outcome {
    let report = take_panic(&*payload);
    let message = match report.place {
        Some(place) => format!("The handler panicked at {place}: {}", report.message),
        None => format!("The handler panicked: {}", report.message),
    };
    Outcome::failed(message, Retry::Backoff)
}
