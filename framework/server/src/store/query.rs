//! Queries about tasks, queues, batches and schedules, and their results.

use std::collections::BTreeMap;

use framework_protocol::task::{BatchId, TaskId, TaskRecord};
use framework_protocol::views::{
    BatchInfo, ChangeInfo, ChangePreview, FailureFilter, FailureReport, Filter, FunctionRecord,
    HistoryFilter, HistoryPoint, QueueInfo, ScheduleInfo, SearchResult, State, TaskDetails, TaskSelector,
    TaskSummary,
};
use serde::{Deserialize, Serialize};

/// A query about tasks, queues, batches or schedules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Query {
    Task(TaskId),
    Tasks(Filter),
    /// The tasks of a filter, as far as they are found within about a second.
    Search(Filter),
    Batch(BatchId),
    /// The last batches, the newest first.
    Batches {
        limit: usize,
    },
    Queues,
    Schedules,
    /// The functions that workers have registered.
    Functions,
    /// The changes of many tasks that are under way.
    Changes,
    /// The failed tasks by their causes, and at most so many of these.
    Failures {
        filter: FailureFilter,
        limit: usize,
    },
    /// The tasks that a change would change.
    Preview(PlannedSelection),
    /// The history of figures.
    History(HistoryFilter),
    /// The tasks of these functions, by queue.
    Backlog {
        functions: Vec<String>,
    },
    /// The next tasks of these functions in a queue.
    Next {
        functions: Vec<String>,
        queue: String,
        place: BacklogPlace,
        limit: usize,
    },
}

impl Query {
    /// Whether it may look at so many tasks that others are not to wait for it.
    pub(super) fn is_slow(&self) -> bool {
        match self {
            Self::Search(filter) => filter.is_search(),
            Self::Failures { .. } | Self::Preview(_) => true,
            _ => false,
        }
    }
}

/// The tasks that a change of many tasks would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedSelection {
    /// Those of a batch that have not ended.
    Cancel(BatchId),
    /// Those that wait in a queue, or in all.
    Flush { queue: Option<String> },
    /// Those that have ended, except those that are done.
    Retry(TaskSelector),
    /// Those that have ended.
    Forget(TaskSelector),
}

impl PlannedSelection {
    /// Whether a task in this state is changed, if the selector means it.
    pub(super) fn changes(&self, state: State) -> bool {
        match self {
            Self::Cancel(_) => !state.is_terminal(),
            Self::Flush { .. } => state == State::Waiting,
            Self::Retry(_) => state.is_terminal() && state != State::Done,
            Self::Forget(_) => state.is_terminal(),
        }
    }
}

/// Where tasks are that have not ended, or not for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BacklogPlace {
    /// Those that can be taken, by priority and then by id.
    Due,
    /// Those whose time has not come, by that time.
    Delayed,
    /// Those that have failed, by the time of that.
    Failed,
}

/// The tasks of some functions in one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueBacklog {
    /// Those that can be taken, by their priority from 0 to 9.
    pub due: [u64; 10],
    pub delayed: u64,
    pub running: u64,
    pub failed: u64,
}

/// The result of a [`Query`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryResult {
    Task(Box<TaskDetails>),
    Tasks(Vec<TaskSummary>),
    Found(SearchResult),
    Batch(Box<BatchInfo>),
    Batches(Vec<BatchInfo>),
    Queues(Vec<QueueInfo>),
    Schedules(Vec<ScheduleInfo>),
    Functions(Vec<FunctionRecord>),
    Changes(Vec<ChangeInfo>),
    Failures(FailureReport),
    Preview(ChangePreview),
    History(Vec<HistoryPoint>),
    Backlog(BTreeMap<String, QueueBacklog>),
    Next(Vec<TaskId>),
    /// Nothing has this id, or it is not kept any more.
    Nothing,
}

/// Whether a task in this state passes the filter.
pub(super) fn matches(filter: &Filter, task: &TaskRecord, state: Option<State>) -> bool {
    let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    is(&filter.queue, &task.new.queue)
        && is(&filter.function, &task.new.function)
        && filter.state.is_none_or(|wanted| Some(wanted) == state)
        && filter.batch.is_none_or(|wanted| Some(wanted) == task.new.batch())
        && filter.before.is_none_or(|before| task.id < before)
        && filter.since_ms.is_none_or(|since_ms| task.accepted_ms >= since_ms)
        && filter.until_ms.is_none_or(|until_ms| task.accepted_ms < until_ms)
        && (filter.tags.is_empty()
            || task.new.extra.as_ref().is_some_and(|extra| filter.tags.are_among(&extra.tags)))
}

/// Whether a task has the text of a filter in what can be searched.
pub(super) fn has_text(filter: &Filter, task: &TaskRecord, error: Option<&str>) -> bool {
    let Some(text) = &filter.text else { return true };
    let text = text.as_bytes();
    let has = |searched: &[u8]| {
        text.is_empty() || searched.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text))
    };
    has(&task.new.args)
        || has(task.new.function.as_bytes())
        || error.is_some_and(|error| has(error.as_bytes()))
}
