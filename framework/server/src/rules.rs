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

/// The longest pause that a handler may ask for, a century; beyond it times overflow.
const PAUSE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// A task has failed after this many attempts in which the process died, if no other task ran each time.
const CRASHES_ALONE_MAX: u32 = 2;
/// A task has failed after this many such attempts, whatever else ran.
const CRASHES_MAX: u32 = 4;
/// The concurrency keys of tasks that may have killed their process, and how many of each may run at once:
/// fewer with each crash, so that a few crashes tell which one it was, and the others need not wait for long.
const QUARANTINES: [(&str, u32); 3] = [("quarantine-1", 16), ("quarantine-2", 4), ("quarantine-3", 1)];

/// The bounds of retries, from the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryLimits {
    /// The most attempts of a task that may fail, whatever the task itself allows.
    pub attempts: u32,
    /// The least pause before the next attempt, whoever asks for it.
    pub min_pause: Duration,
    /// The longest mean pause that the doubling of a backoff leads to.
    pub max_backoff: Duration,
}

/// The disposition of a task after an attempt; `None` as outcome means that the attempt was given up.
///
/// A task that was to be cancelled is done if its attempt was faster, and in no other case goes on.
pub fn after_attempt(limits: &RetryLimits, task: &TaskRecord, outcome: Option<&Outcome>) -> Disposition {
    match outcome {
        Some(Outcome::Done(result)) => Disposition::Done(result.clone()),
        _ if task.is_cancel_requested() => Disposition::Cancelled,
        None => Disposition::Requeue,
        Some(Outcome::Failed(failure)) => match retry_pause(limits, task, failure.retry) {
            Some(pause) => Disposition::Retry { pause, error: failure.message.clone() },
            None => Disposition::Failed(failure.message.clone()),
        },
    }
}

/// The pause before the next attempt; `None` if there is none.
fn retry_pause(limits: &RetryLimits, task: &TaskRecord, retry: Retry) -> Option<Duration> {
    let failures = task.failures().saturating_add(1);
    let pause = match retry {
        Retry::Never => return None,
        _ if failures >= task.new.attempts.min(limits.attempts) => return None,
        Retry::After(pause) => pause.min(PAUSE_MAX),
        Retry::Backoff => backoff(task.new.backoff(), failures, limits.max_backoff),
    };
    Some(pause.max(limits.min_pause))
}

/// The next task of a chain, with the result of the one before as arguments; `None` when nothing follows.
pub fn chained(handlers: &Handlers, task: &NewTask, result: &Bytes) -> Option<NewTask> {
    let extra = task.extra.as_deref()?;
    let (first, rest) = extra.then.split_first()?;
    let mut next = handlers.task(first, result.clone());
    if !rest.is_empty() {
        next.extra_mut().then = rest.to_vec();
    }
    if !extra.tags.is_empty() {
        next.extra_mut().tags = extra.tags.clone();
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

    fn attempt_lost(&self, crashes: u32, was_alone: bool, reason: &str) -> LostAttempt {
        if crashes < if was_alone { CRASHES_ALONE_MAX } else { CRASHES_MAX } {
            return LostAttempt::Retry(reason.to_owned());
        }
        LostAttempt::Failed(format!("{reason} That was so {crashes} times: the task is set aside."))
    }

    fn crash_concurrency(&self, crashes: u32) -> Option<(&'static str, u32)> {
        let level = usize::try_from(crashes.checked_sub(1)?).unwrap_or(usize::MAX);
        QUARANTINES.get(level).or(QUARANTINES.last()).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LIMITS: RetryLimits = RetryLimits {
        attempts: 1_000,
        min_pause: Duration::from_millis(100),
        max_backoff: Duration::from_secs(3600),
    };

    fn after_attempt(task: &TaskRecord, outcome: Option<&Outcome>) -> Disposition {
        super::after_attempt(&LIMITS, task, outcome)
    }

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
    fn after_attempt_bounds_the_pause_and_the_number_of_attempts() {
        let at_once = Outcome::failed("no", Retry::After(Duration::ZERO));
        let eager = task(|new| (new.attempts, new.backoff_ms) = (u32::MAX, 0));
        for outcome in [Outcome::failed("no", Retry::Backoff), at_once] {
            let least = Disposition::Retry { pause: LIMITS.min_pause, error: "no".into() };
            assert_eq!(after_attempt(&eager, Some(&outcome)), least);
            eager.failures.store(LIMITS.attempts - 1, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(after_attempt(&eager, Some(&outcome)), Disposition::Failed("no".into()));
            eager.failures.store(0, std::sync::atomic::Ordering::Relaxed);
        }
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
    fn attempt_lost_fails_a_task_at_its_second_crash_alone_and_at_its_fourth_among_others() {
        let rules = Handlers::default();
        let retry = LostAttempt::Retry("It died.".into());
        let failed = |times| {
            LostAttempt::Failed(format!("It died. That was so {times} times: the task is set aside."))
        };
        assert_eq!(rules.attempt_lost(1, true, "It died."), retry);
        assert_eq!(rules.attempt_lost(2, true, "It died."), failed(2));
        assert_eq!(rules.attempt_lost(3, false, "It died."), retry);
        assert_eq!(rules.attempt_lost(4, false, "It died."), failed(4));
    }

    #[test]
    fn crash_concurrency_shrinks_with_each_crash() {
        let rules = Handlers::default();
        let limits: Vec<_> =
            (0..5).map(|crashes| rules.crash_concurrency(crashes).map(|(_, limit)| limit)).collect();
        assert_eq!(limits, [None, Some(16), Some(4), Some(1), Some(1)]);
    }
}
