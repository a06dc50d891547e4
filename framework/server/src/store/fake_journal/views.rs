//! What people ask the tables of the fake journal.

use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::{
    ChangePreview, FailureFilter, FailureReport, Filter, PreviewedTask, State, TaskDetails, TaskSelector,
    TaskSummary,
};
use serde_json::value::RawValue;

use super::tables::{FakeEnd, FakeTables};
use crate::store::failure_groups::{FailedTask, FailureGroups};
use crate::store::query::{has_text, matches};
use crate::store::view_parts::{TaskViewParts, details, summary};
use crate::store::{PlannedSelection, Query, QueryResult, QueueBacklog};

impl FakeTables {
    pub(super) fn query(&self, query: &Query, now_ms: u64) -> QueryResult {
        match query {
            Query::Task(id) => {
                self.details(*id).map_or(QueryResult::Nothing, |details| QueryResult::Task(Box::new(details)))
            }
            Query::Batch(id) => {
                let batch = self.batches.get(id).cloned();
                batch.map_or(QueryResult::Nothing, |batch| QueryResult::Batch(Box::new(batch)))
            }
            Query::Batches { limit } => {
                QueryResult::Batches(self.batches.values().rev().take(*limit).cloned().collect())
            }
            Query::Schedules => QueryResult::Schedules(self.schedules.values().cloned().collect()),
            Query::Functions => QueryResult::Functions(self.functions.values().cloned().collect()),
            Query::History(filter) => QueryResult::History(self.history.query(filter, now_ms)),
            Query::Backlog { functions } => {
                let mut queues = std::collections::BTreeMap::<_, QueueBacklog>::new();
                for (_, queue, _) in self.failed(functions) {
                    queues.entry(queue.to_owned()).or_default().failed += 1;
                }
                QueryResult::Backlog(queues)
            }
            Query::Next { functions, queue, limit, .. } => {
                let failed = self.failed(functions).filter(|(_, of, _)| of == queue);
                let mut failed: Vec<_> = failed.map(|(at_ms, _, id)| (at_ms, id)).collect();
                failed.sort_unstable();
                QueryResult::Next(failed.into_iter().map(|(_, id)| id).take(*limit).collect())
            }
            Query::Failures { filter, limit } => QueryResult::Failures(self.failures(filter, *limit)),
            Query::Preview(planned) => QueryResult::Preview(self.preview(planned)),
            Query::Tasks(_) | Query::Search(_) | Query::Queues | Query::Changes => QueryResult::Nothing,
        }
    }

    fn failures(&self, filter: &FailureFilter, limit: usize) -> FailureReport {
        let mut groups = FailureGroups::new(filter.clone());
        for (id, end) in self.ends.iter().rev().filter(|(_, end)| end.state == State::Failed) {
            let Some(task) = self.tasks.get(id) else { continue };
            let (queue, function) = (&*task.queue, &*task.function);
            let error = self.error(*id);
            if !groups.add(&FailedTask { id: *id, queue, function, error, ended_ms: end.ended_ms }) {
                break;
            }
        }
        groups.report(limit)
    }

    fn preview(&self, planned: &PlannedSelection) -> ChangePreview {
        let mut preview = ChangePreview::default();
        for (id, task) in &self.tasks {
            let state = self.ends.get(id).map(|end| end.state);
            let is_meant = |selector: &TaskSelector| match selector {
                TaskSelector::Task(wanted) => wanted == id,
                TaskSelector::Batch(batch) => task.batch == Some(*batch),
                TaskSelector::Failed(filter) => {
                    state == Some(State::Failed)
                        && filter.selects(&task.queue, &task.function, self.error(*id))
                }
            };
            let is_meant = match planned {
                PlannedSelection::Cancel(batch) => task.batch == Some(*batch),
                PlannedSelection::Flush { .. } => false,
                PlannedSelection::Retry(selector) | PlannedSelection::Forget(selector) => is_meant(selector),
            };
            if is_meant && planned.changes(state.unwrap_or(State::Waiting)) {
                preview.add(PreviewedTask { id: *id, accepted_ms: task.accepted_ms });
            }
        }
        preview
    }

    /// The failed tasks of these functions: when they ended, and their queues.
    fn failed(&self, functions: &[String]) -> impl Iterator<Item = (u64, &str, TaskId)> {
        let failed = self.ends.iter().filter(|(_, end)| end.state == State::Failed);
        failed.filter_map(|(id, end)| {
            let task = self.tasks.get(id)?;
            let is_wanted = functions.iter().any(|function| **function == *task.function);
            is_wanted.then_some((end.ended_ms, &*task.queue, *id))
        })
    }

    /// The tasks of a filter, the newest first.
    pub(super) fn summaries(&self, filter: &Filter) -> Vec<TaskSummary> {
        let all = self.tasks.keys().rev().filter_map(|id| self.load_one(*id, 0)).map(|task| task.record);
        let wanted = all.filter(|task| matches(filter, task, self.state(task.id)));
        let summaries = wanted.map(|task| (summary(&task, &self.parts(&task)), task));
        let found = summaries.filter(|(summary, task)| has_text(filter, task, summary.error.as_deref()));
        found.map(|(summary, _)| summary).collect()
    }

    fn details(&self, id: TaskId) -> Option<TaskDetails> {
        let task = self.load_one(id, 0)?.record;
        let mut parts = self.parts(&task);
        let before = self.attempts.range((id, 0)..=(id, u32::MAX)).map(|(_, attempt)| attempt.clone());
        parts.history = before.chain(std::mem::take(&mut parts.history)).collect();
        parts.notes = self.notes.get(&id).cloned().map(Box::new);
        Some(details(&task, parts))
    }

    fn parts(&self, task: &TaskRecord) -> TaskViewParts {
        let Some(FakeEnd { state, ended_ms, last, outcome }) = self.ends.get(&task.id) else {
            let retry = self.retries.get(&task.id);
            let mut before = self.attempts.range((task.id, 0)..=(task.id, u32::MAX));
            return TaskViewParts {
                state: Some(State::Waiting),
                attempts: task.attempts(),
                due_ms: retry.and_then(|retry| retry.due_ms),
                error: before.next_back().and_then(|(_, attempt)| attempt.error.clone()),
                ..TaskViewParts::default()
            };
        };
        let result = outcome.as_ref().ok().map_or("null".into(), |result| String::from_utf8_lossy(result));
        TaskViewParts {
            state: Some(*state),
            ended_ms: Some(*ended_ms),
            attempts: last.as_ref().map_or(task.attempts(), |last| last.number),
            error: outcome.as_ref().err().cloned(),
            history: last.iter().cloned().collect(),
            result: RawValue::from_string(result.into_owned()).ok().filter(|_| *state == State::Done),
            ..TaskViewParts::default()
        }
    }
}
