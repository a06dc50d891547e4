//! Turns a panic in a command into an error.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::pin::pin;
use std::sync::Once;

use anyhow::{Result, anyhow};
use futures_util::FutureExt;

thread_local! {
    /// Whether this thread is inside a command, whose panics are told by the console.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static STORY: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a command; if it panics, the error says where and why.
pub(super) async fn guarded(command: impl Future<Output = Result<()>>) -> Result<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(install_hook);
    let mut command = pin!(AssertUnwindSafe(command).catch_unwind());
    let ended = poll_fn(|context| {
        // Set for this poll alone: other futures of the thread, and other threads, keep the usual message.
        let outer = GUARDED.replace(true);
        let polled = command.as_mut().poll(context);
        GUARDED.set(outer);
        polled
    });
    ended.await.unwrap_or_else(|_| {
        let story = STORY.take().unwrap_or_else(|| "the command panicked".to_owned());
        Err(anyhow!(story))
    })
}

fn install_hook() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(
        move |info| {
            if GUARDED.get() { STORY.set(Some(story(info))) } else { usual(info) }
        },
    ));
}

fn story(info: &PanicHookInfo) -> String {
    let reason = reason(info.payload()).unwrap_or("no reason given");
    let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => format!("the command panicked{place}: {reason}\n{backtrace}"),
        _ => format!("the command panicked{place}: {reason}"),
    }
}

fn reason(payload: &dyn Any) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
