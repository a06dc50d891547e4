//! Schedules: the tasks of config/schedule.toml and `#[task(cron = ..)]`, and their times.

mod collect;
mod cron;
mod settings;

use std::sync::Arc;

use bytes::Bytes;
pub use cron::Cron;
use framework_console::config::Origin;
use framework_protocol::task::{Handlers, MissedRunPolicy, NewTask, OverlapPolicy, TaskId};
use framework_protocol::{ErrorCode, RequestError, TaskRequest};
use jiff::Timestamp;
use serde_json::value::RawValue;
pub use settings::{Arguments, Expression, ScheduleEntry, ScheduleSettings, Timezone};

/// The most missed runs that are made up for.
pub const MISSED_MAX: usize = 1_000;
/// A run that is no later than this, in milliseconds, is not missed: the time that a restart may take.
const ON_TIME_MS: u64 = 60_000;

/// One schedule: a task, and the times at which it is made.
#[derive(Debug)]
pub struct Schedule {
    pub name: String,
    /// The name of the function, which a worker outside of this program may be to register yet.
    pub function: String,
    /// The arguments, as JSON; they fit a handler of this program.
    pub args: Bytes,
    /// The queue of the tasks, as far as that is known.
    pub queue: Arc<str>,
    /// The queue that the settings name.
    own_queue: Option<Box<str>>,
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
    ///
    /// `repeated_after` is the last task before the clock was set back, if it was: the times that come once
    /// more have keys of their own.
    ///
    /// # Errors
    /// As for [`Schedule::now`].
    pub fn at(
        &self,
        handlers: &Handlers,
        time_ms: u64,
        repeated_after: Option<TaskId>,
    ) -> Result<NewTask, RequestError> {
        let mut task = self.now(handlers)?;
        let key = self.key(time_ms);
        let key = repeated_after.map_or(key.clone(), |task| format!("{key}/after-{task}"));
        task.extra_mut().key = Some(key.into());
        Ok(task)
    }

    /// A task for a run by hand, without a key.
    ///
    /// # Errors
    /// No worker has registered the function yet, or the arguments do not fit what it has registered.
    pub fn now(&self, handlers: &Handlers) -> Result<NewTask, RequestError> {
        request(handlers, &self.function, &self.args, self.own_queue.as_deref())
    }

    /// The key of the run at `time_ms`, such as `schedule/morning_mail/2026-12-01T01:00:00Z`. It is in UTC,
    /// so that a change of the time zone does not change it.
    pub fn key(&self, time_ms: u64) -> String {
        let time =
            Timestamp::from_millisecond(i64::try_from(time_ms).unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
        format!("schedule/{}/{time}", self.name)
    }
}

/// The task that a client would get with these arguments, in this queue or that of the function.
fn request(
    handlers: &Handlers,
    function: &str,
    args: &[u8],
    queue: Option<&str>,
) -> Result<NewTask, RequestError> {
    let args: &RawValue =
        serde_json::from_slice(args).map_err(|error| RequestError::bad_arguments(function, &error))?;
    let request = TaskRequest {
        function: Some(function.into()),
        args: Some(args),
        queue: queue.map(Into::into),
        ..TaskRequest::default()
    };
    NewTask::from_request(handlers, &request, None)
}

/// All schedules of a program, by name.
#[derive(Debug, Default)]
pub struct Schedules {
    all: Vec<Schedule>,
    unknown: Vec<String>,
}

impl Schedules {
    pub fn iter(&self) -> impl Iterator<Item = &Schedule> {
        self.all.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A sentence for each schedule that makes no tasks yet, since its function is not known, or its
    /// arguments do not fit what a worker has registered.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The schedule called `name`.
    ///
    /// # Errors
    /// `unknown_task` if there is none, with the similar name.
    pub fn find(&self, name: &str) -> Result<&Schedule, RequestError> {
        let found = self.all.binary_search_by(|schedule| schedule.name.as_str().cmp(name));
        found.map(|index| &self.all[index]).map_err(|_| {
            RequestError::new(ErrorCode::UnknownTask, format!("There is no schedule \"{name}\"."))
                .suggesting(name, self.all.iter().map(|schedule| schedule.name.as_str()))
        })
    }
}

#[cfg(test)]
mod tests;
