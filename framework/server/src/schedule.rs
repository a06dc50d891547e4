//! Schedules: the tasks of config/schedule.toml and `#[task(cron = ..)]`, and their times.

mod collect;
mod cron;
mod settings;

use std::sync::Arc;

use bytes::Bytes;
pub use cron::Cron;
use framework_console::config::Origin;
use framework_protocol::task::{Handler, MissedRunPolicy, NewTask, OverlapPolicy};
use framework_protocol::{ErrorCode, RequestError};
use jiff::Timestamp;
pub use settings::{Arguments, Expression, ScheduleEntry, ScheduleSettings, Timezone};

/// The most missed runs that are made up for.
pub const MISSED_MAX: usize = 1_000;
/// A run that is no later than this, in milliseconds, is not missed: the time that a restart may take.
const ON_TIME_MS: u64 = 60_000;

/// One schedule: a task, and the times at which it is made.
#[derive(Debug)]
pub struct Schedule {
    pub name: String,
    pub handler: &'static Handler,
    /// The arguments, as JSON that fits the handler.
    pub args: Bytes,
    pub queue: Arc<str>,
    pub cron: Cron,
    pub missed: MissedRunPolicy,
    pub overlap: OverlapPolicy,
    /// A disabled schedule has no next run, but can be run by hand.
    pub enabled: bool,
    /// The file and line that define it.
    pub origin: Origin,
}

impl Schedule {
    /// The time of the next run after `after_ms`, both in milliseconds since 1970; `None` if there is none.
    pub fn next(&self, after_ms: u64) -> Option<u64> {
        self.cron.next(after_ms).filter(|_| self.enabled)
    }

    /// The times after `since_ms` that are due at `now_ms`: the missed ones as far as the policy makes up for
    /// them, and the current one.
    ///
    /// At most the last [`MISSED_MAX`]; one if runs may not overlap.
    pub fn due(&self, since_ms: u64, now_ms: u64) -> Vec<u64> {
        let limit = match (self.missed, self.overlap) {
            (MissedRunPolicy::All, OverlapPolicy::Allow) => MISSED_MAX,
            _ => 1,
        };
        let mut times = self.cron.between(since_ms, now_ms, limit);
        if self.missed == MissedRunPolicy::Skip {
            times.retain(|time| now_ms - time <= ON_TIME_MS);
        }
        times
    }

    /// The task of the run at `time_ms`. Its key contains the time, so that pushing it twice makes one task.
    pub fn at(&self, time_ms: u64) -> NewTask {
        let mut task = self.now();
        task.extra_mut().key = Some(self.key(time_ms).into());
        task
    }

    /// A task for a run by hand, without a key.
    pub fn now(&self) -> NewTask {
        NewTask { queue: self.queue.clone(), ..NewTask::with_defaults(self.handler, self.args.clone()) }
    }

    /// The key of the run at `time_ms`, such as `schedule/morning_mail/2026-12-01T01:00:00Z`. It is in UTC,
    /// so that a change of the time zone does not change it.
    pub fn key(&self, time_ms: u64) -> String {
        let time =
            Timestamp::from_millisecond(i64::try_from(time_ms).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
        format!("schedule/{}/{time}", self.name)
    }
}

/// All schedules of a program, by name.
#[derive(Debug, Default)]
pub struct Schedules(Vec<Schedule>);

impl Schedules {
    pub fn iter(&self) -> impl Iterator<Item = &Schedule> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The schedule called `name`.
    ///
    /// # Errors
    /// `unknown_task` if there is none, with the similar name.
    pub fn find(&self, name: &str) -> Result<&Schedule, RequestError> {
        let found = self.0.binary_search_by(|schedule| schedule.name.as_str().cmp(name));
        found.map(|index| &self.0[index]).map_err(|_| {
            RequestError::new(ErrorCode::UnknownTask, format!("There is no schedule \"{name}\"."))
                .suggesting(name, self.0.iter().map(|schedule| schedule.name.as_str()))
        })
    }
}

#[cfg(test)]
mod tests;
