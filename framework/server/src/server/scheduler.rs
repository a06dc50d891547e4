//! Makes tasks at the times of their schedules.
//!
//! The scheduler is a second source of tasks beside the sessions. Each run is pushed with a key of its own
//! and recorded after that, so that a crash in between pushes it again without making a second task.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use framework_protocol::RequestError;
use framework_protocol::task::{OverlapPolicy, TaskId};
use framework_protocol::views::{ScheduleInfo, ScheduleNote};
use tokio::sync::{Mutex, mpsc, watch};

use super::intake::Intake;
use super::poll::raised;
use crate::schedule::{Schedule, Schedules};
use crate::store::{Accepted, AdminCommand, Clock, Now, Query, QueryResult, Store};

/// The longest sleep: the time until a changed clock, or a store that accepts tasks again, is noticed.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// A clock that is set back by more than this, in milliseconds, was wrong before: all times run again. Up to
/// it, only schedules with wildcards do, as in cron.
const SET_BACK_MS: u64 = 3 * 60 * 60 * 1_000;
/// Smaller corrections, in milliseconds, are those that happen all the time.
const SLEW_MS: u64 = 1_000;
/// The time up to which a disabled schedule is recorded as done: the last millisecond that a signed number
/// holds.
const FOREVER_MS: u64 = i64::MAX as u64;

/// The schedules and their states.
pub(super) struct Scheduler {
    schedules: Schedules,
    intake: Intake,
    store: Arc<dyn Store>,
    clock: Clock,
    /// The time at the last look.
    looked: std::sync::Mutex<Now>,
    /// In the order of the schedules. Locked during a push, so that no task is made any more once a pause has
    /// returned.
    states: Mutex<Vec<ScheduleState>>,
}

/// The progress of one schedule.
#[derive(Debug, Default)]
struct ScheduleState {
    /// Times up to this one are done.
    seen_ms: u64,
    /// The first time after it; `None` if there is none or the schedule is disabled.
    next_ms: Option<u64>,
    /// The task of the last run.
    task: Option<TaskId>,
    paused: bool,
    /// The last task before the clock was set back, if it was.
    repeated_after: Option<TaskId>,
    /// The reason why the last push was rejected, if it was; that has been logged.
    rejected: Option<String>,
}

impl Scheduler {
    /// Restores the schedules from the store; one that is new begins now.
    pub(super) async fn open(
        schedules: Schedules,
        intake: Intake,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Result<Self> {
        let infos =
            match store.query(Query::Schedules).await.context("reading the states of the schedules")? {
                QueryResult::Schedules(infos) => infos,
                _ => Vec::new(),
            };
        let looked = std::sync::Mutex::new(clock.now());
        let scheduler = Self { schedules, intake, store, clock, looked, states: Mutex::default() };
        let now_ms = scheduler.now_ms();
        let mut states = Vec::new();
        for schedule in scheduler.schedules.iter() {
            let info = infos.iter().find(|info| info.name == schedule.name);
            states.push(scheduler.restore(schedule, info, now_ms).await);
        }
        scheduler.skip_unknown(&infos).await;
        *scheduler.states.lock().await = states;
        Ok(scheduler)
    }

    async fn restore(&self, schedule: &Schedule, info: Option<&ScheduleInfo>, now_ms: u64) -> ScheduleState {
        let seen_ms = info.and_then(|info| info.seen_ms).filter(|&seen_ms| seen_ms != FOREVER_MS);
        let seen_ms = match (seen_ms, schedule.enabled) {
            (Some(seen_ms), true) => seen_ms,
            (_, enabled) => {
                let seen_ms = if enabled { now_ms } else { FOREVER_MS };
                self.persist(&schedule.name, seen(seen_ms)).await;
                seen_ms
            }
        };
        ScheduleState {
            seen_ms,
            next_ms: schedule.next(seen_ms),
            task: info.and_then(|info| info.task),
            paused: info.is_some_and(|info| info.paused),
            repeated_after: None,
            rejected: None,
        }
    }

    /// Records schedules that exist no more as done, so that missed runs are not made up for if they return.
    async fn skip_unknown(&self, infos: &[ScheduleInfo]) {
        let removed = infos.iter().filter(|info| self.schedules.find(&info.name).is_err());
        for info in removed.filter(|info| info.seen_ms != Some(FOREVER_MS)) {
            self.persist(&info.name, seen(FOREVER_MS)).await;
        }
    }

    /// Makes tasks at their times until the stop flag is raised. `_reading` is held until then.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>, _reading: mpsc::Sender<()>) {
        if self.schedules.is_empty() {
            return;
        }
        loop {
            let pause = self.fire_due().await;
            tokio::select! {
                biased;
                () = raised(&mut stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Makes the tasks that are due, and returns the time to sleep.
    pub(super) async fn fire_due(&self) -> Duration {
        let mut states = self.states.lock().await;
        let now_ms = self.now_ms();
        let set_back_ms = self.set_back_ms();
        let mut soonest_ms = u64::MAX;
        for (schedule, state) in self.schedules.iter().zip(&mut *states).filter(|(_, state)| !state.paused) {
            self.begin_again(schedule, state, now_ms, set_back_ms).await;
            if state.next_ms.is_some_and(|next_ms| next_ms <= now_ms) {
                self.fire(schedule, state, now_ms).await;
            }
            if let Some(next_ms) = state.next_ms.filter(|_| state.rejected.is_none()) {
                soonest_ms = soonest_ms.min(next_ms);
            }
        }
        MAX_SLEEP.min(Duration::from_millis(soonest_ms.saturating_sub(self.now_ms())))
    }

    /// The time by which the clock was set back since the last look, in milliseconds; logs it.
    fn set_back_ms(&self) -> u64 {
        let now = self.clock.now();
        let before = {
            let mut looked = self.looked.lock().expect("no one panics while holding a time");
            std::mem::replace(&mut *looked, now)
        };
        let passed_ms = now.steady.saturating_sub(before.steady).as_millis() as u64;
        let set_back_ms = before.wall_ms.saturating_add(passed_ms).saturating_sub(now.wall_ms);
        if set_back_ms <= SLEW_MS {
            return 0;
        }
        let by = humantime::format_duration(Duration::from_secs(set_back_ms.div_ceil(1_000)));
        if set_back_ms > SET_BACK_MS {
            tracing::warn!("the clock was set back by {by}: all schedules go on at the new time");
        } else {
            tracing::warn!(
                "the clock was set back by {by}: schedules with a wildcard in the minute or hour go on at the new time, \
                 and those of fixed times do not run twice"
            );
        }
        set_back_ms
    }

    /// Begins a schedule again whose next time would come late, because the clock was set back.
    async fn begin_again(
        &self,
        schedule: &Schedule,
        state: &mut ScheduleState,
        now_ms: u64,
        set_back_ms: u64,
    ) {
        let ahead_ms = state.seen_ms.saturating_sub(now_ms);
        let is_far = set_back_ms.max(ahead_ms) > SET_BACK_MS;
        if !schedule.enabled || ahead_ms <= SLEW_MS || !(schedule.cron.is_wildcard() || is_far) {
            return;
        }
        state.repeated_after = state.task;
        state.mark_seen(schedule, now_ms);
        self.persist(&schedule.name, seen(now_ms)).await;
    }

    /// Makes the tasks of the times up to now.
    async fn fire(&self, schedule: &Schedule, state: &mut ScheduleState, now_ms: u64) {
        let times = schedule.due(state.seen_ms, now_ms);
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            tracing::info!("schedule {}: a run was missed and is skipped", schedule.name);
            return state.mark_seen(schedule, now_ms);
        };
        if let Some(task) = self.overlapping(schedule, state).await {
            let at = schedule.cron.show(last);
            tracing::info!(
                "schedule {}: no task for {at}, because task {task} of the previous run has not ended",
                schedule.name
            );
            state.mark_seen(schedule, last);
            return self.persist(&schedule.name, seen(last)).await;
        }
        if state.next_ms.is_some_and(|next_ms| next_ms < first) && state.rejected.is_none() {
            let first = schedule.cron.show(first);
            tracing::info!("schedule {}: missed runs before {first} are not made up for", schedule.name);
        }
        self.push(schedule, state, &times).await;
    }

    /// Pushes a task for each time up to the first that is rejected, and records the last one.
    async fn push(&self, schedule: &Schedule, state: &mut ScheduleState, times: &[u64]) {
        let handlers = self.intake.handlers();
        let tasks = times.iter().map(|&time| schedule.at(handlers, time, state.repeated_after));
        let results = match tasks.collect() {
            Ok(tasks) => self.intake.push(tasks).await,
            Err(error) => vec![Err(error)],
        };
        let mut fired = None;
        let mut rejected = None;
        for (&time, result) in times.iter().zip(results) {
            match result {
                Ok(accepted) => fired = Some((time, log_run(schedule, time, accepted))),
                Err(error) => {
                    rejected = Some((time, error));
                    break;
                }
            }
        }
        if let Some((time, error)) = rejected.as_ref().filter(|_| state.rejected.is_none()) {
            let at = schedule.cron.show(*time);
            tracing::warn!("schedule {}: no task for {at} yet, it is tried again: {error}", schedule.name);
        }
        if let Some((time, task)) = fired {
            state.mark_seen(schedule, time);
            state.task = Some(task);
            let note =
                ScheduleNote { seen_ms: Some(time), fired_ms: Some(time), task: Some(task), paused: None };
            self.persist(&schedule.name, note).await;
        }
        state.rejected = rejected.map(|(_, error)| error.to_string());
    }

    /// The task of the previous run, if it has not ended and overlap is not permitted.
    async fn overlapping(&self, schedule: &Schedule, state: &ScheduleState) -> Option<TaskId> {
        let task = state.task.filter(|_| schedule.overlap == OverlapPolicy::Skip)?;
        match self.store.query(Query::Task(task)).await {
            Ok(QueryResult::Task(info)) if !info.summary.state.is_terminal() => Some(task),
            // A task that is not kept any more has ended.
            Ok(_) => None,
            Err(error) => {
                tracing::warn!("schedule {}: reading the state of task {task}: {error}", schedule.name);
                None
            }
        }
    }

    /// Adds what this server knows of its schedules: what they run when, and their next times.
    pub(super) async fn describe(&self, infos: &mut [ScheduleInfo]) {
        let states = self.states.lock().await;
        for (schedule, state) in self.schedules.iter().zip(&*states) {
            let Some(info) = infos.iter_mut().find(|info| info.name == schedule.name) else { continue };
            info.function = Some(schedule.function.clone());
            info.cron = Some(schedule.cron.expression().to_owned());
            info.timezone = Some(schedule.cron.timezone().to_owned());
            info.next_ms = state.next_ms.filter(|_| !state.paused);
            info.error.clone_from(&state.rejected);
        }
    }

    /// Makes a task now, beside those of the clock.
    pub(super) async fn run_now(&self, name: &str) -> Result<TaskId, RequestError> {
        self.intake.push_one(self.schedules.find(name)?.now(self.intake.handlers())?).await
    }

    /// Pauses or resumes a schedule, also across restarts; the times during a pause are skipped. No task of a
    /// paused schedule is made any more when this returns.
    pub(super) async fn pause(&self, name: &str, paused: bool) -> Result<(), RequestError> {
        self.schedules.find(name)?;
        let mut states = self.states.lock().await;
        let found = self.schedules.iter().zip(&mut *states).find(|(schedule, _)| schedule.name == name);
        let Some((schedule, state)) = found.filter(|(_, state)| state.paused != paused) else {
            return Ok(());
        };
        let seen_ms = (!paused && schedule.enabled).then(|| self.now_ms());
        self.write(name, ScheduleNote { seen_ms, paused: Some(paused), ..ScheduleNote::default() }).await?;
        state.paused = paused;
        if let Some(seen_ms) = seen_ms {
            state.mark_seen(schedule, seen_ms);
        }
        Ok(())
    }

    async fn write(&self, name: &str, note: ScheduleNote) -> Result<(), RequestError> {
        self.store.apply(AdminCommand::Schedule { name: name.to_owned(), note }).await.map(|_| ())
    }

    /// Records the state as far as the store accepts it. A lost record does no harm: a run pushed again is
    /// known by its key.
    async fn persist(&self, name: &str, note: ScheduleNote) {
        if let Err(error) = self.write(name, note).await {
            tracing::warn!("schedule {name}: its state could not be recorded: {error}");
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().wall_ms
    }
}

impl ScheduleState {
    fn mark_seen(&mut self, schedule: &Schedule, seen_ms: u64) {
        self.seen_ms = seen_ms;
        self.next_ms = schedule.next(seen_ms);
        self.rejected = None;
    }
}

fn seen(time_ms: u64) -> ScheduleNote {
    ScheduleNote { seen_ms: Some(time_ms), ..ScheduleNote::default() }
}

fn log_run(schedule: &Schedule, time: u64, accepted: Accepted) -> TaskId {
    let id = accepted.id;
    let existing = if accepted.is_new() { "" } else { ", which existed already" };
    tracing::info!("schedule {}: task {id} for {}{existing}", schedule.name, schedule.cron.show(time));
    id
}

#[cfg(test)]
mod tests;
