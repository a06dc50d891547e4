//! The panic hook of the process: it keeps the place and the message of each thread's last panic.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// Whether the thread runs code whose panics are reported by [`take_panic`] alone.
    static IS_CAPTURING: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// Whether panics are logged instead of printed.
static IS_LOGGING: AtomicBool = AtomicBool::new(false);

/// The place and the reason of a panic.
#[derive(Debug, Clone)]
pub struct PanicReport {
    /// `file:line:column`, if it is known.
    pub place: Option<String>,
    pub message: String,
    /// The stack, if `RUST_BACKTRACE` is set and the panic was captured.
    pub backtrace: Option<String>,
}

/// Logs every panic from now on as an error, instead of printing it to stderr, as long as errors are logged.
pub fn log_panics() {
    IS_LOGGING.store(true, Ordering::Relaxed);
    install();
}

/// Calls `work`; a panic in it is neither printed nor logged, but left for [`take_panic`].
///
/// Only this thread is concerned, and only for the time of the call. The panic itself goes on: catch it
/// outside.
pub fn capture_panics<T>(work: impl FnOnce() -> T) -> T {
    install();
    let _outer = CaptureGuard(IS_CAPTURING.replace(true));
    work()
}

/// Takes the report of the panic that this thread has just caught with `payload`, which is dropped; a panic
/// of that drop goes no further.
pub fn take_panic(payload: Box<dyn Any + Send>) -> PanicReport {
    // Without the hook there is none.
    let report = || PanicReport { place: None, message: message(&*payload).to_owned(), backtrace: None };
    let report = LAST.take().unwrap_or_else(report);
    if let Err(another) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        LAST.take();
        // Its drop may panic again.
        std::mem::forget(another);
    }
    report
}

/// Restores the state from before a call, also after a panic.
struct CaptureGuard(bool);

impl Drop for CaptureGuard {
    fn drop(&mut self) {
        IS_CAPTURING.set(self.0);
    }
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default_hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let report = PanicReport::new(info, IS_CAPTURING.get());
            if !IS_CAPTURING.get() {
                if is_logged() {
                    let place = report.place.as_deref().unwrap_or("an unknown place");
                    tracing::error!("panic at {place}: {}", report.message);
                } else {
                    default_hook(info);
                }
            }
            LAST.set(Some(report));
        }));
    });
}

/// Whether a panic is logged now: without a log, as in a test, it is printed.
fn is_logged() -> bool {
    IS_LOGGING.load(Ordering::Relaxed) && tracing::enabled!(tracing::Level::ERROR)
}

impl PanicReport {
    fn new(info: &PanicHookInfo, with_backtrace: bool) -> Self {
        let backtrace = with_backtrace.then(Backtrace::capture);
        let backtrace = backtrace.filter(|backtrace| backtrace.status() == BacktraceStatus::Captured);
        Self {
            place: info.location().map(ToString::to_string),
            message: message(info.payload()).to_owned(),
            backtrace: backtrace.map(|backtrace| backtrace.to_string()),
        }
    }
}

fn message(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Level, Logging};

    #[test]
    fn panic_is_logged_only_while_errors_are() {
        log_panics();
        let is_logged_at = |level| {
            let subscriber = Logging { level, ..Logging::default() }.subscriber(std::io::sink);
            tracing::subscriber::with_default(subscriber, is_logged)
        };
        assert!(!is_logged() && is_logged_at(Level::Error) && !is_logged_at(Level::Off));
    }

    #[test]
    fn take_panic_survives_a_payload_that_panics() {
        struct Nested(u8);
        impl Drop for Nested {
            fn drop(&mut self) {
                if let Some(rest) = self.0.checked_sub(1) {
                    panic::panic_any(Self(rest));
                }
            }
        }
        let payload = panic::catch_unwind(|| panic::panic_any(Nested(2))).unwrap_err();
        assert_eq!(take_panic(payload).message, "no message");
    }
}
