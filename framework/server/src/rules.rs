//! The rules of a task's life: retries, chains, the ends of batches, and crashes.
//!
//! They are pure functions from an event to its effects, which a store applies in the transaction of the
//! event.

use std::time::Duration;

use bytes::Bytes;
use framework_protocol::backoff;
use framework_protocol::task::{Handlers, NewTask, Outcome, Retry, TaskRecord};
use framework_protocol::views::BatchInfo;
use serde::Serialize;

use crate::store::{Disposition, LostAttempt, Rules};

/// The longest mean pause of a backoff.
const BACKOFF_MAX: Duration = Duration::from_secs(60 * 60);
/// The longest pause that a handler may ask for, a century; beyond it times overflow.
const PAUSE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// A task has failed after this many attempts in which the process died.
const CRASHES_MAX: u32 = 2;
/// The concurrency key of all tasks that may have killed their process: they run one at a time, so that the
/// next crash tells which one it was. Keys of clients have no control characters.
const QUARANTINE_KEY: &str = "\0quarantine";

/// The disposition of a task after an attempt; `None` as outcome means that the attempt was given up.
///
/// A task that was to be cancelled is done if its attempt was faster, and in no other case goes on.
pub fn after_attempt(task: &TaskRecord, outcome: Option<&Outcome>) -> Disposition {
    match outcome {
        Some(Outcome::Done(result)) => Disposition::Done(result.clone()),
        _ if task.is_cancel_requested() => Disposition::Cancelled,
        None => Disposition::Requeue,
        Some(Outcome::Failed(failure)) => match retry_pause(task, failure.retry) {
            Some(pause) => Disposition::Retry { pause, error: failure.message.clone() },
            None => Disposition::Failed(failure.message.clone()),
        },
    }
}

/// The pause before the next attempt; `None` if there is none.
fn retry_pause(task: &TaskRecord, retry: Retry) -> Option<Duration> {
    let failures = task.failures() + 1;
    match retry {
        Retry::Never => None,
        _ if failures >= task.new.attempts => None,
        Retry::After(pause) => Some(pause.min(PAUSE_MAX)),
        Retry::Backoff => Some(backoff(task.new.backoff(), failures, BACKOFF_MAX)),
    }
}

/// The next task of a chain, with the result of the one before as arguments; `None` when nothing follows.
pub fn chained(handlers: &Handlers, task: &NewTask, result: &Bytes) -> Option<NewTask> {
    let extra = task.extra.as_deref()?;
    let (first, rest) = extra.then.split_first()?;
    let mut next = handlers.task(first, result.clone());
    if !rest.is_empty() {
        next.extra_mut().then = rest.to_vec();
    }
    Some(next)
}

/// The arguments of the task that follows a batch.
#[derive(Serialize)]
struct BatchCompletion<'a> {
    batch: u64,
    name: &'a str,
    function: &'a str,
    total: u64,
    done: u64,
    failed: u64,
    cancelled: u64,
    expired: u64,
}

/// The options of functions come from the program's handlers; a function that it does not contain has the
/// defaults.
impl Rules for Handlers {
    fn batch_ended(&self, batch: &BatchInfo) -> Option<NewTask> {
        let function = batch.then.as_deref()?;
        let BatchInfo { id, name, function: of, total, done, failed, cancelled, expired, .. } = batch;
        let completion = BatchCompletion {
            batch: *id,
            name,
            function: of,
            total: *total,
            done: *done,
            failed: *failed,
            cancelled: *cancelled,
            expired: *expired,
        };
        let args = serde_json::to_vec(&completion).expect("texts and numbers are JSON");
        Some(self.task(function, args.into()))
    }

    fn attempt_lost(&self, crashes: u32, reason: &str) -> LostAttempt {
        if crashes < CRASHES_MAX {
            return LostAttempt::Retry(reason.to_owned());
        }
        LostAttempt::Failed(format!("{reason} That was so {crashes} times: the task is set aside."))
    }

    fn crash_concurrency(&self, crashes: u32) -> Option<(&'static str, u32)> {
        (crashes > 0).then_some((QUARANTINE_KEY, 1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn task(change: impl FnOnce(&mut NewTask)) -> TaskRecord {
        let mut new = NewTask::without_handler("any", "null".into());
        change(&mut new);
        TaskRecord::new(1, new, Instant::now(), 0)
    }

    #[test]
    fn after_attempt_retries_as_long_as_attempts_are_left() {
        let failed = Outcome::failed("no", Retry::After(Duration::from_secs(3)));
        let retry = Disposition::Retry { pause: Duration::from_secs(3), error: "no".into() };
        assert_eq!(after_attempt(&task(|new| new.attempts = 2), Some(&failed)), retry);
        assert_eq!(
            after_attempt(&task(|new| new.attempts = 1), Some(&failed)),
            Disposition::Failed("no".into())
        );
        let never = Outcome::failed("no", Retry::Never);
        assert_eq!(
            after_attempt(&task(|new| new.attempts = 9), Some(&never)),
            Disposition::Failed("no".into())
        );
    }

    #[test]
    fn after_attempt_of_a_cancelled_task_is_done_or_cancelled() {
        let cancelled = task(|new| new.attempts = 9);
        cancelled.request_cancel();
        let failed = Outcome::failed("no", Retry::Backoff);
        assert_eq!(after_attempt(&cancelled, Some(&failed)), Disposition::Cancelled);
        assert_eq!(after_attempt(&cancelled, None), Disposition::Cancelled);
        let done = Outcome::Done("1".into());
        assert_eq!(after_attempt(&cancelled, Some(&done)), Disposition::Done("1".into()));
    }

    #[test]
    fn chained_passes_the_result_on_also_to_a_function_that_is_unknown_here() {
        let handlers = Handlers::default();
        let first = task(|new| new.extra_mut().then = vec!["b".into(), "c".into()]);
        let second = chained(&handlers, &first.new, &"7".into()).expect("b follows");
        assert_eq!((&*second.function, &second.args[..]), ("b", &b"7"[..]));
        let third = chained(&handlers, &second, &"8".into()).expect("c follows");
        assert_eq!((&*third.function, third.extra.is_none()), ("c", true));
        assert!(chained(&handlers, &third, &"9".into()).is_none());
    }

    #[test]
    fn attempt_lost_fails_a_task_at_its_second_crash() {
        let rules = Handlers::default();
        assert_eq!(rules.attempt_lost(1, "It died."), LostAttempt::Retry("It died.".into()));
        let twice = "It died. That was so 2 times: the task is set aside.";
        assert_eq!(rules.attempt_lost(2, "It died."), LostAttempt::Failed(twice.into()));
        assert_eq!(rules.crash_concurrency(0), None);
        assert_eq!(rules.crash_concurrency(1).map(|(_, limit)| limit), Some(1));
    }
}
