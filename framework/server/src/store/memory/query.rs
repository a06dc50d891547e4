//! Answers queries from the history and the index.

use std::sync::Arc;

use framework_protocol::task::TaskRecord;
use framework_protocol::views::{
    ChangePreview, FailureFilter, FailureReport, Filter, PreviewedTask, SearchResult, State, TaskSummary,
};

use super::ended_tasks::selects;
use super::history::History;
use crate::store::changes::RunningChanges;
use crate::store::clock::Now;
use crate::store::failure_groups::{FailedTask, FailureGroups};
use crate::store::index::{EndRecord, TaskIndex};
use crate::store::query::{has_text, matches};
use crate::store::view_parts::{TaskViewParts, details, queues_with_oldest, summary};
use crate::store::{BacklogPlace, PlannedSelection, Query, QueryResult};

impl History {
    pub(super) fn query(
        &self,
        query: Query,
        index: &mut TaskIndex,
        changes: &RunningChanges,
        now: Now,
    ) -> QueryResult {
        match query {
            Query::Task(id) => {
                let over = self.ended(id).map(TaskSource::Ended);
                let found = over.or_else(|| alive(index, now).find(|known| known.task().id == id));
                let view = |known: TaskSource| {
                    QueryResult::Task(Box::new(details(known.task(), self.view_parts(&known))))
                };
                found.map_or(QueryResult::Nothing, view)
            }
            Query::Tasks(filter) => QueryResult::Tasks(self.list(&filter, index, now)),
            Query::Search(filter) => {
                let tasks = self.list(&filter, index, now);
                let before = tasks.last().map(|task| task.id);
                let is_complete = tasks.len() < filter.limit;
                QueryResult::Found(SearchResult { tasks, is_complete, before })
            }
            Query::Batch(id) => {
                let ended = self.batches.iter().find(|batch| batch.id == id);
                let found = index.batches().get(id).or(ended);
                found.map_or(QueryResult::Nothing, |batch| QueryResult::Batch(Box::new(batch.clone())))
            }
            Query::Batches { limit } => {
                let mut all: Vec<_> = index.batches().iter().chain(&self.batches).cloned().collect();
                all.sort_by_key(|batch| std::cmp::Reverse(batch.id));
                all.truncate(limit);
                QueryResult::Batches(all)
            }
            Query::Queues => QueryResult::Queues(queues_with_oldest(index, now.wall_ms)),
            Query::Changes => QueryResult::Changes(changes.list()),
            Query::Schedules => QueryResult::Schedules(self.schedules.values().cloned().collect()),
            Query::Backlog { functions } => {
                let mut queues = index.backlog(&functions);
                for ended in self.failed(&functions) {
                    queues.entry(ended.task.new.queue.to_string()).or_default().failed += 1;
                }
                QueryResult::Backlog(queues)
            }
            Query::Next { functions, queue, place, limit } => QueryResult::Next(match place {
                BacklogPlace::Due => index.next_due_tasks(&functions, &queue, limit),
                BacklogPlace::Delayed => index.next_delayed_tasks(&functions, &queue, limit, now),
                BacklogPlace::Failed => {
                    let failed = self.failed(&functions).filter(|ended| *ended.task.new.queue == *queue);
                    let mut failed: Vec<_> = failed.map(|ended| (ended.at_ms, ended.task.id)).collect();
                    failed.sort_unstable();
                    failed.into_iter().map(|(_, id)| id).take(limit).collect()
                }
            }),
            Query::Failures { filter, limit } => QueryResult::Failures(self.failures(filter, limit)),
            Query::Preview(planned) => QueryResult::Preview(self.preview(&planned, index, now)),
            // That of figures is another one, which the store itself asks.
            Query::History(_) => QueryResult::Nothing,
            Query::Functions => QueryResult::Functions(Vec::new()),
        }
    }

    fn all_ended(&self) -> impl Iterator<Item = &EndRecord> {
        self.ended.iter().flat_map(|ended| &ended.tasks)
    }

    /// The failed tasks by their causes; the newest ones, if they are too many.
    fn failures(&self, filter: FailureFilter, limit: usize) -> FailureReport {
        let mut failed: Vec<_> = self.all_ended().filter(|ended| ended.state == State::Failed).collect();
        failed.sort_unstable_by_key(|ended| std::cmp::Reverse(ended.at_ms));
        let mut groups = FailureGroups::new(filter);
        for EndRecord { task, outcome, at_ms, .. } in failed {
            let (queue, function) = (&*task.new.queue, &*task.new.function);
            let error = outcome.as_ref().err().map_or("", String::as_str);
            if !groups.add(&FailedTask { id: task.id, queue, function, error, ended_ms: *at_ms }) {
                break;
            }
        }
        groups.report(limit)
    }

    fn preview(&self, planned: &PlannedSelection, index: &TaskIndex, now: Now) -> ChangePreview {
        let mut preview = ChangePreview::default();
        let is_planned = |known: &TaskSource| planned.changes(known.state()) && known.is_meant(planned);
        for known in alive(index, now).chain(self.all_ended().map(TaskSource::Ended)).filter(is_planned) {
            let task = known.task();
            preview.add(PreviewedTask { id: task.id, accepted_ms: task.accepted_ms });
        }
        preview
    }

    /// The failed tasks of these functions.
    fn failed<'a>(&'a self, functions: &'a [String]) -> impl Iterator<Item = &'a EndRecord> {
        let is_wanted = |ended: &EndRecord| functions.iter().any(|name| *ended.task.new.function == **name);
        self.all_ended().filter(move |ended| ended.state == State::Failed && is_wanted(ended))
    }

    fn list(&self, filter: &Filter, index: &TaskIndex, now: Now) -> Vec<TaskSummary> {
        let all = alive(index, now).chain(self.all_ended().map(TaskSource::Ended));
        let mut found: Vec<_> = all
            .filter(|known| matches(filter, known.task(), Some(known.state())))
            .filter(|known| has_text(filter, known.task(), self.error(known)))
            .collect();
        found.sort_unstable_by_key(|known| std::cmp::Reverse(known.task().id));
        found.truncate(filter.limit);
        found.iter().map(|known| summary(known.task(), &self.view_parts(known))).collect()
    }

    /// The last error of a task.
    fn error<'a>(&'a self, known: &'a TaskSource) -> Option<&'a str> {
        match known {
            TaskSource::Alive { task, .. } => self.attempts.get(&task.id)?.last()?.error.as_deref(),
            TaskSource::Ended(ended) => ended.outcome.as_ref().err().map(String::as_str),
        }
    }

    fn view_parts(&self, known: &TaskSource) -> TaskViewParts {
        let mut history = self.attempts.get(&known.task().id).cloned().unwrap_or_default();
        match known {
            TaskSource::Alive { task, state, due_ms, parked } => TaskViewParts {
                state: Some(*state),
                due_ms: *due_ms,
                parked: *parked,
                attempts: task.attempts() + u32::from(*state == State::Running),
                error: history.last().and_then(|attempt| attempt.error.clone()),
                history,
                notes: task.progress_log(),
                ..TaskViewParts::default()
            },
            TaskSource::Ended(ended) => {
                history.extend(ended.attempt());
                let result = ended.outcome.as_ref().ok();
                TaskViewParts {
                    state: Some(ended.state),
                    ended_ms: Some(ended.at_ms),
                    attempts: ended.run.as_ref().map_or(ended.task.attempts(), |run| run.number),
                    error: ended.outcome.as_ref().err().cloned(),
                    history,
                    notes: ended.task.progress_log(),
                    result: result.and_then(|result| serde_json::from_slice(result).ok()),
                    ..TaskViewParts::default()
                }
            }
        }
    }
}

/// A task that views show.
enum TaskSource<'a> {
    Alive { task: &'a Arc<TaskRecord>, state: State, due_ms: Option<u64>, parked: bool },
    Ended(&'a EndRecord),
}

impl TaskSource<'_> {
    fn task(&self) -> &Arc<TaskRecord> {
        match self {
            Self::Alive { task, .. } => task,
            Self::Ended(ended) => &ended.task,
        }
    }

    /// Whether the selector of a change means it, whatever its state.
    fn is_meant(&self, planned: &PlannedSelection) -> bool {
        let new = &self.task().new;
        match (planned, self) {
            (PlannedSelection::Cancel(batch), _) => new.batch() == Some(*batch),
            (PlannedSelection::Flush { queue }, _) => {
                queue.as_deref().is_none_or(|queue| queue == &*new.queue)
            }
            (PlannedSelection::Retry(selector) | PlannedSelection::Forget(selector), Self::Ended(ended)) => {
                selects(selector, ended)
            }
            (PlannedSelection::Retry(_) | PlannedSelection::Forget(_), Self::Alive { .. }) => false,
        }
    }

    fn state(&self) -> State {
        match self {
            Self::Alive { state, .. } => *state,
            Self::Ended(ended) => ended.state,
        }
    }
}

/// Every task that has not ended.
fn alive(index: &TaskIndex, now: Now) -> impl Iterator<Item = TaskSource<'_>> {
    let waiting = index.iter().filter_map(move |(id, task, _, when)| {
        let (due_ms, parked) = (when.ms(now), index.is_parked(id));
        Some(TaskSource::Alive { task: task?, state: State::Waiting, due_ms, parked })
    });
    let running = index.running().filter_map(|(_, task)| {
        Some(TaskSource::Alive { task: task?, state: State::Running, due_ms: None, parked: false })
    });
    waiting.chain(running)
}
