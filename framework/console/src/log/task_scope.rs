//! The task that a thread works on, so that the lines it logs meanwhile carry the task's id.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static CURRENT_TASK: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The task that this thread works on.
pub(super) fn current_task() -> Option<u64> {
    CURRENT_TASK.get()
}

/// Calls `work`, whose log lines carry the task's id.
pub fn with_task<T>(task: u64, work: impl FnOnce() -> T) -> T {
    let _outer = ScopeGuard(CURRENT_TASK.replace(Some(task)));
    work()
}

/// A future whose log lines carry a task's id. Each poll costs two writes to thread-local memory.
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

/// The task from before, restored on drop, also after a panic.
struct ScopeGuard(Option<u64>);

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        CURRENT_TASK.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_task_is_restored_after_a_scope() {
        assert_eq!(with_task(1, || (with_task(2, current_task), current_task())), (Some(2), Some(1)));
        assert_eq!(current_task(), None);
        let panicked = std::panic::catch_unwind(|| with_task(3, || std::panic::resume_unwind(Box::new(()))));
        assert!(panicked.is_err());
        assert_eq!(current_task(), None);
    }
}
