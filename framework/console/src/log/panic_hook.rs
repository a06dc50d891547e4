//! The panic hook of the process: it keeps the place and the message of each thread's last panic.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};
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

/// Logs every panic from now on as an error, instead of printing it to stderr.
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

/// Takes the report of the panic that this thread has just caught with `payload`.
pub fn take_panic(payload: &dyn Any) -> PanicReport {
    // Without the hook there is none.
    let report = || PanicReport { place: None, message: message(payload).to_owned(), backtrace: None };
    LAST.take().unwrap_or_else(report)
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
                if IS_LOGGING.load(Ordering::Relaxed) {
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
