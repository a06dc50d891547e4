//! Makes the tasks whose time has come.
//!
//! A second source of tasks beside the sessions. Each time of a schedule is pushed under a key of its own and
//! noted after that, so that a crash between the two pushes it again as the task that it is already.

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
use crate::store::{Accepted, AdminCommand, Clock, Query, QueryResult, Store};

/// The longest sleep: so soon it is noticed that somebody has set the clock, or that a store accepts tasks again.
const STEP: Duration = Duration::from_secs(1);
/// If the clock is set back by more than this, in milliseconds, the times that come again run again.
const SET_BACK_MS: u64 = 3 * 60 * 60 * 1_000;
/// What a schedule that is switched off has been seen up to: the last millisecond that a signed number holds.
const FOREVER_MS: u64 = i64::MAX as u64;

/// The schedules and how far each is.
pub(super) struct Scheduler {
    schedules: Schedules,
    queue: Intake,
    store: Arc<dyn Store>,
    clock: Clock,
    /// In the order of the schedules. Held during a push, so that a pause is one for everybody who knows of it.
    hands: Mutex<Vec<ScheduleState>>,
}

/// How far a schedule is.
#[derive(Debug, Default)]
struct ScheduleState {
    /// Times up to this one are done with.
    seen_ms: u64,
    /// The first time after it; `None` if it never comes or the schedule is switched off.
    next_ms: Option<u64>,
    /// The task of the last run.
    task: Option<TaskId>,
    paused: bool,
    /// Whether the last push was refused, which has been told.
    refused: bool,
}

impl Scheduler {
    /// Takes up the schedules where they were left; one that was not there before begins now.
    pub(super) async fn open(
        schedules: Schedules,
        queue: Intake,
        store: Arc<dyn Store>,
        clock: Clock,
    ) -> Result<Self> {
        let stories = match store.query(Query::Schedules).await.context("reading the schedules' times")? {
            QueryResult::Schedules(stories) => stories,
            _ => Vec::new(),
        };
        let scheduler = Self { schedules, queue, store, clock, hands: Mutex::default() };
        let now_ms = scheduler.now_ms();
        let mut hands = Vec::new();
        for schedule in scheduler.schedules.iter() {
            let story = stories.iter().find(|story| story.name == schedule.name);
            hands.push(scheduler.restore(schedule, story, now_ms).await);
        }
        scheduler.skip_unknown(&stories).await;
        *scheduler.hands.lock().await = hands;
        Ok(scheduler)
    }

    async fn restore(&self, schedule: &Schedule, story: Option<&ScheduleInfo>, now_ms: u64) -> ScheduleState {
        let seen_ms = story.and_then(|story| story.seen_ms).filter(|&seen_ms| seen_ms != FOREVER_MS);
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
            task: story.and_then(|story| story.task),
            paused: story.is_some_and(|story| story.paused),
            refused: false,
        }
    }

    /// What is no schedule any more owes nothing if it is one again some day.
    async fn skip_unknown(&self, stories: &[ScheduleInfo]) {
        let gone = stories.iter().filter(|story| self.schedules.find(&story.name).is_err());
        for story in gone.filter(|story| story.seen_ms != Some(FOREVER_MS)) {
            self.persist(&story.name, seen(FOREVER_MS)).await;
        }
    }

    /// Makes tasks at their times until it is told to stop.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>, _reading: mpsc::Sender<()>) {
        if self.schedules.is_empty() {
            return;
        }
        loop {
            let pause = self.look().await;
            tokio::select! {
                biased;
                () = raised(&mut stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Makes the tasks that are due; tells when to look again.
    async fn look(&self) -> Duration {
        let mut hands = self.hands.lock().await;
        let now_ms = self.now_ms();
        let mut soonest_ms = u64::MAX;
        for (schedule, hand) in self.schedules.iter().zip(&mut *hands).filter(|(_, hand)| !hand.paused) {
            self.set_back(schedule, hand, now_ms).await;
            if hand.next_ms.is_some_and(|next_ms| next_ms <= now_ms) {
                self.fire(schedule, hand, now_ms).await;
            }
            if let Some(next_ms) = hand.next_ms.filter(|_| !hand.refused) {
                soonest_ms = soonest_ms.min(next_ms);
            }
        }
        STEP.min(Duration::from_millis(soonest_ms.saturating_sub(self.now_ms())))
    }

    /// After a clock that was far ahead has been put right, the schedule would otherwise wait for that time.
    async fn set_back(&self, schedule: &Schedule, hand: &mut ScheduleState, now_ms: u64) {
        if !schedule.enabled || hand.seen_ms <= now_ms.saturating_add(SET_BACK_MS) {
            return;
        }
        tracing::warn!(
            "schedule {}: the clock was set back from {} or later, and it begins again",
            schedule.name,
            schedule.cron.show(hand.seen_ms)
        );
        hand.mark_seen(schedule, now_ms);
        self.persist(&schedule.name, seen(now_ms)).await;
    }

    /// Makes the tasks of the times that have come.
    async fn fire(&self, schedule: &Schedule, hand: &mut ScheduleState, now_ms: u64) {
        let times = schedule.due(hand.seen_ms, now_ms);
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            tracing::info!("schedule {}: a run was missed and is skipped", schedule.name);
            return hand.mark_seen(schedule, now_ms);
        };
        if let Some(task) = self.overlapping(schedule, hand).await {
            let at = schedule.cron.show(last);
            tracing::info!(
                "schedule {}: no task for {at}, because task {task} of the run before has not ended",
                schedule.name
            );
            hand.mark_seen(schedule, last);
            return self.persist(&schedule.name, seen(last)).await;
        }
        if hand.next_ms.is_some_and(|next_ms| next_ms < first) && !hand.refused {
            let first = schedule.cron.show(first);
            tracing::info!("schedule {}: missed runs before {first} are not made up for", schedule.name);
        }
        self.push(schedule, hand, &times).await;
    }

    /// Pushes a task for each time, and notes how far that went.
    async fn push(&self, schedule: &Schedule, hand: &mut ScheduleState, times: &[u64]) {
        let tasks = times.iter().map(|&time| schedule.at(time)).collect();
        let mut fired = None;
        let mut refused = None;
        for (&time, result) in times.iter().zip(self.queue.push(tasks).await) {
            match result {
                Ok(accepted) => fired = Some((time, tell(schedule, time, accepted))),
                Err(refusal) => {
                    refused = Some((time, refusal));
                    break;
                }
            }
        }
        if let Some((time, refusal)) = refused.as_ref().filter(|_| !hand.refused) {
            let at = schedule.cron.show(*time);
            tracing::warn!("schedule {}: no task for {at} yet, tried again: {refusal}", schedule.name);
        }
        if let Some((time, task)) = fired {
            hand.mark_seen(schedule, time);
            hand.task = Some(task);
            let note =
                ScheduleNote { seen_ms: Some(time), fired_ms: Some(time), task: Some(task), paused: None };
            self.persist(&schedule.name, note).await;
        }
        hand.refused = refused.is_some();
    }

    /// The task of the run before, if it is in the way.
    async fn overlapping(&self, schedule: &Schedule, hand: &ScheduleState) -> Option<TaskId> {
        let task = hand.task.filter(|_| schedule.overlap == OverlapPolicy::Skip)?;
        match self.store.query(Query::Task(task)).await {
            Ok(QueryResult::Task(story)) if !story.summary.state.is_terminal() => Some(task),
            // One that is not kept any more has ended.
            Ok(_) => None,
            Err(refusal) => {
                tracing::warn!("schedule {}: how task {task} is doing: {refusal}", schedule.name);
                None
            }
        }
    }

    /// Makes a task now, besides those of the clock.
    pub(super) async fn run_now(&self, name: &str) -> Result<TaskId, RequestError> {
        self.queue.push_one(self.schedules.find(name)?.now()).await
    }

    /// Lets no time of a schedule run until it is resumed, also after a restart; those that pass meanwhile are
    /// skipped. No task of it is made any more when this returns.
    pub(super) async fn pause(&self, name: &str, paused: bool) -> Result<(), RequestError> {
        self.schedules.find(name)?;
        let mut hands = self.hands.lock().await;
        let found = self.schedules.iter().zip(&mut *hands).find(|(schedule, _)| schedule.name == name);
        let Some((schedule, hand)) = found.filter(|(_, hand)| hand.paused != paused) else { return Ok(()) };
        let seen_ms = (!paused && schedule.enabled).then(|| self.now_ms());
        self.note(name, ScheduleNote { seen_ms, paused: Some(paused), ..ScheduleNote::default() }).await?;
        hand.paused = paused;
        if let Some(seen_ms) = seen_ms {
            hand.mark_seen(schedule, seen_ms);
        }
        Ok(())
    }

    async fn note(&self, name: &str, note: ScheduleNote) -> Result<(), RequestError> {
        self.store.apply(AdminCommand::Schedule { name: name.to_owned(), note }).await.map(drop)
    }

    /// Notes what can be done without: what was pushed is known by its key.
    async fn persist(&self, name: &str, note: ScheduleNote) {
        if let Err(refusal) = self.note(name, note).await {
            tracing::warn!("schedule {name}: how far it is could not be noted: {refusal}");
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
        self.refused = false;
    }
}

fn seen(time_ms: u64) -> ScheduleNote {
    ScheduleNote { seen_ms: Some(time_ms), ..ScheduleNote::default() }
}

fn tell(schedule: &Schedule, time: u64, accepted: Accepted) -> TaskId {
    let Accepted { id, is_new } = accepted;
    let already = if is_new { "" } else { ", which was there already" };
    tracing::info!("schedule {}: task {id} for {}{already}", schedule.name, schedule.cron.show(time));
    id
}

#[cfg(test)]
mod tests;
