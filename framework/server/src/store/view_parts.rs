//! Builds the views of tasks from the parts that the stores know.

use framework_protocol::one_line;
use framework_protocol::task::{Due, ProgressLog, TaskId, TaskRecord};
use framework_protocol::views::{AttemptInfo, QueueInfo, State, TaskDetails, TaskSummary};
use serde_json::value::RawValue;

use super::Rate;
use super::clock::Now;
use super::due_heap::ReadyAt;
use super::index::{AttemptRun, EndRecord, OldestTask, TaskIndex};

/// The parts of a view beyond the task itself.
#[derive(Debug, Default)]
pub struct TaskViewParts {
    pub state: Option<State>,
    pub due_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    pub attempts: u32,
    pub error: Option<String>,
    pub history: Vec<AttemptInfo>,
    pub notes: Option<Box<ProgressLog>>,
    pub result: Option<Box<RawValue>>,
    pub parked: bool,
}

/// A task in one line.
pub fn summary(task: &TaskRecord, parts: &TaskViewParts) -> TaskSummary {
    TaskSummary {
        id: task.id,
        state: parts.state.unwrap_or(State::Waiting),
        function: task.new.function.to_string(),
        queue: task.new.queue.to_string(),
        priority: task.new.priority,
        accepted_ms: task.accepted_ms,
        due_ms: parts.due_ms.or_else(|| ms_of(task.new.due, task.accepted_ms)),
        ended_ms: parts.ended_ms,
        attempts: parts.attempts,
        error: parts.error.clone(),
        parked: parts.parked,
        tags: task.new.extra.as_ref().map(|extra| extra.tags.clone()).unwrap_or_default(),
    }
}

/// All that is known of a task.
pub fn details(task: &TaskRecord, parts: TaskViewParts) -> TaskDetails {
    let summary = summary(task, &parts);
    let extra = task.new.extra.as_deref().cloned().unwrap_or_default();
    let args = serde_json::from_slice(&one_line(&task.new.args));
    TaskDetails {
        summary,
        // Arguments are checked when they come in; those of a damaged file are shown as a text.
        args: args.unwrap_or_else(|_| text(&task.new.args)),
        max_attempts: task.new.attempts,
        timeout_ms: task.new.timeout.map(|timeout| timeout.as_millis() as u64),
        expires_ms: extra.expires.and_then(|expires| ms_of(expires, task.accepted_ms)),
        key: extra.key.map(String::from),
        concurrency_key: extra.concurrency_key.map(String::from),
        batch: extra.batch,
        then: extra.then.into_iter().map(String::from).collect(),
        crashes: task.crashes(),
        history: parts.history,
        notes: parts.notes.map(|notes| *notes).unwrap_or_default(),
        result: parts.result.map(into_one_line),
    }
}

/// Every queue with its depth.
pub(super) fn queues(index: &mut TaskIndex) -> Vec<QueueInfo> {
    let depths = index.counts().queues;
    let shares = index.order().shares();
    let info = |(name, weight, rate): (&str, u32, Option<Rate>)| QueueInfo {
        name: name.to_owned(),
        depth: depths.get(name).copied().unwrap_or_default(),
        weight,
        rate: rate.map(|rate| rate.to_string()),
        oldest_waiting_ms: None,
    };
    let mut all: Vec<_> = shares.map(info).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

/// Every queue with the age of its oldest due task, where all bodies are in memory.
pub(super) fn queues_with_oldest(index: &mut TaskIndex, now_ms: u64) -> Vec<QueueInfo> {
    let mut infos = queues(index);
    add_oldest(&mut infos, &index.oldest_by_queue(), now_ms, |_| None);
    infos
}

/// Adds the ages of the oldest due tasks; `accepted_ms` is asked about those whose body is on the disk.
pub(super) fn add_oldest(
    queues: &mut [QueueInfo],
    oldest: &[OldestTask],
    now_ms: u64,
    mut accepted_ms: impl FnMut(TaskId) -> Option<u64>,
) {
    for OldestTask { queue, id, task } in oldest {
        let accepted_ms = task.as_ref().map(|task| task.accepted_ms).or_else(|| accepted_ms(*id));
        let (Some(info), Some(accepted_ms)) =
            (queues.iter_mut().find(|info| *info.name == **queue), accepted_ms)
        else {
            continue;
        };
        let age = now_ms.saturating_sub(accepted_ms);
        info.oldest_waiting_ms = Some(info.oldest_waiting_ms.map_or(age, |other| other.max(age)));
    }
}

/// A result that an earlier version has kept with its line ends.
fn into_one_line(result: Box<RawValue>) -> Box<RawValue> {
    serde_json::from_slice(&one_line(result.get().as_bytes())).unwrap_or(result)
}

fn text(bytes: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(bytes);
    serde_json::value::to_raw_value(&text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A due time by the wall clock.
pub fn ms_of(due: Due, since_ms: u64) -> Option<u64> {
    match due {
        Due::Now => None,
        Due::After(pause) => Some(since_ms.saturating_add(pause.as_millis() as u64)),
        Due::At(at_ms) => Some(at_ms),
    }
}

impl ReadyAt {
    /// The time by the wall clock.
    pub(super) fn ms(self, now: Now) -> Option<u64> {
        match self {
            Self::Now => None,
            Self::Wall(at_ms) => Some(at_ms),
            Self::Steady(at) => {
                let (at, now_steady) = (at.as_millis() as u64, now.steady.as_millis() as u64);
                Some((now.wall_ms + at).saturating_sub(now_steady))
            }
        }
    }
}

impl EndRecord {
    /// The last attempt as views show it.
    pub(super) fn attempt(&self) -> Option<AttemptInfo> {
        let run = self.run.clone()?;
        Some(attempt(run, self.outcome.as_ref().err().cloned()))
    }
}

/// An attempt of this process as views show it.
pub(super) fn attempt(run: AttemptRun, error: Option<String>) -> AttemptInfo {
    AttemptInfo {
        number: run.number,
        started_ms: run.started_ms,
        ran_ms: run.ran.map(|ran| ran.as_secs_f64() * 1000.0),
        pid: std::process::id(),
        worker: run.worker.map(|worker| worker.as_ref().to_owned()),
        error,
    }
}
