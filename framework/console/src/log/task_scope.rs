//! Which task a thread is at, so that the lines it logs meanwhile carry the task's id.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static SUBJECT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The task that this thread works on just now.
pub(super) fn subject() -> Option<u64> {
    SUBJECT.get()
}

/// Calls `work` for a task.
pub fn with_task<T>(task: u64, work: impl FnOnce() -> T) -> T {
    let _outer = ScopeGuard(SUBJECT.replace(Some(task)));
    work()
}

/// A future that works for a task whenever it is polled. It costs two writes to the thread's own memory each time.
pub struct TaskScope<F> {
    pub task: u64,
    pub future: F,
}

impl<F: Future + Unpin> Future for TaskScope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        with_task(self.task, || Pin::new(&mut self.future).poll(context))
    }
}

/// What it was before; so again also after a panic.
struct ScopeGuard(Option<u64>);

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        SUBJECT.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_a_task_is_about_it_and_what_follows_is_not() {
        assert_eq!(with_task(1, || (with_task(2, subject), subject())), (Some(2), Some(1)));
        assert_eq!(subject(), None);
        let panicked = std::panic::catch_unwind(|| with_task(3, || std::panic::resume_unwind(Box::new(()))));
        assert!(panicked.is_err());
        assert_eq!(subject(), None);
    }
}
