//! A panic in a handler fails its attempt, with its message and its place.

use std::any::Any;
use std::cell::RefCell;
use std::panic;
use std::sync::Once;

use super::outcome::{Outcome, Retry};

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on every panic is logged, and its place kept for [`caught`].
pub fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string);
            let place = place.unwrap_or_else(|| "an unknown place".into());
            tracing::error!("panic at {place}: {}", message(info.payload()));
            PLACE.with_borrow_mut(|slot| *slot = Some(place));
        }));
    });
}

/// The outcome of an attempt that panicked on this thread just now.
pub fn caught(payload: Box<dyn Any + Send>) -> Outcome {
    let message = message(&*payload);
    let message = match PLACE.take() {
        Some(place) => format!("The handler panicked at {place}: {message}"),
        None => format!("The handler panicked: {message}"),
    };
    Outcome::failed(message, Retry::Backoff)
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
