//! Answers queries from the journal, and from the index what is not in it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framework_protocol::RequestError;
use framework_protocol::task::{ProgressLog, TaskId, TaskRecord};
use framework_protocol::views::{
    ChangePreview, Filter, PreviewedTask, QueueInfo, SearchResult, State, TaskSummary,
};
use rustc_hash::FxHashMap;

use super::admin::unread;
use super::journal::{JournalReader, Listed, ReadError};
use super::outage::Outage;
use super::{DurableShared, closed};
use crate::store::query::{has_text, matches};
use crate::store::view_parts::{TaskViewParts, add_oldest, queues, summary};
use crate::store::{BacklogPlace, PlannedSelection, Query, QueryResult, StoreStats};

/// The time of a search, and the number of tasks after which it is looked at.
const SEARCH_TIME: Duration = Duration::from_secs(1);
const SEARCH_CHECK: u64 = 256;

impl<R: JournalReader> DurableShared<R> {
    pub(super) async fn counts(&self) -> StoreStats {
        let now = self.clock.now();
        let (mut counts, oldest) = {
            let mut state = self.state();
            state.wake(now);
            let mut counts = state.index.counts();
            counts.storage_error = state.outage.as_ref().map(Outage::describe);
            let warnings = state.damage.iter().chain(&state.warning);
            counts.storage_warning = warnings.cloned().reduce(|all, warning| format!("{all} {warning}"));
            (counts, state.index.oldest())
        };
        let accepted_ms = match oldest {
            Some((_, Some(task))) => Some(task.accepted_ms),
            Some((id, None)) => self.reader.accepted_ms(&[id]).await.remove(&id),
            None => None,
        };
        counts.oldest_waiting_ms = accepted_ms.map(|accepted_ms| now.wall_ms.saturating_sub(accepted_ms));
        counts
    }

    async fn queues(&self) -> Vec<QueueInfo> {
        let now = self.clock.now();
        let (mut infos, oldest) = {
            let mut state = self.state();
            state.wake(now);
            (queues(&mut state.index), state.index.oldest_by_queue())
        };
        let unread = oldest.iter().filter(|oldest| oldest.task.is_none());
        let ids: Vec<_> = unread.map(|oldest| oldest.id).collect();
        let accepted_ms =
            if ids.is_empty() { FxHashMap::default() } else { self.reader.accepted_ms(&ids).await };
        add_oldest(&mut infos, &oldest, now.wall_ms, |id| accepted_ms.get(&id).copied());
        infos
    }

    async fn preview_flush(&self, queue: Option<&str>) -> ChangePreview {
        let ids = self.state().index.waiting_ids(queue);
        let (oldest, newest) = (ids.iter().min().copied(), ids.iter().max().copied());
        let ends: Vec<_> = oldest.into_iter().chain(newest).collect();
        let accepted = self.reader.accepted_ms(&ends).await;
        let task = |id: Option<TaskId>| {
            id.and_then(|id| Some(PreviewedTask { id, accepted_ms: *accepted.get(&id)? }))
        };
        ChangePreview { tasks: ids.len() as u64, oldest: task(oldest), newest: task(newest) }
    }

    /// Answers a query; what is read from the journal is read on a thread that may block.
    pub(super) async fn query(self: &Arc<Self>, query: Query) -> Result<QueryResult, RequestError> {
        match query {
            Query::Queues => return Ok(QueryResult::Queues(self.queues().await)),
            Query::Changes => return Ok(QueryResult::Changes(self.state().changes.list())),
            Query::Preview(PlannedSelection::Flush { queue }) => {
                return Ok(QueryResult::Preview(self.preview_flush(queue.as_deref()).await));
            }
            Query::Next { functions, queue, place: BacklogPlace::Due, limit } => {
                return Ok(QueryResult::Next(self.state().index.next_due_tasks(&functions, &queue, limit)));
            }
            Query::Next { functions, queue, place: BacklogPlace::Delayed, limit } => {
                let now = self.clock.now();
                let next = self.state().index.next_delayed_tasks(&functions, &queue, limit, now);
                return Ok(QueryResult::Next(next));
            }
            _ => {}
        }
        let _turn = if query.is_slow() { Some(self.slow_queries.turn().await?) } else { None };
        let shared = self.clone();
        let read = tokio::task::spawn_blocking(move || shared.read(&query));
        read.await.map_err(|_| closed())?.map_err(unread)
    }

    fn read(&self, query: &Query) -> Result<QueryResult, ReadError> {
        let now_ms = self.clock.now().wall_ms;
        match query {
            Query::Tasks(filter) => self.tasks(filter),
            Query::Search(filter) => self.search(filter).map(QueryResult::Found),
            Query::Backlog { functions } => {
                let mut queues = self.state().index.backlog(functions);
                if let QueryResult::Backlog(failed) = self.reader.query(query, now_ms)? {
                    for (queue, backlog) in failed {
                        queues.entry(queue).or_default().failed += backlog.failed;
                    }
                }
                Ok(QueryResult::Backlog(queues))
            }
            _ => {
                let mut result = self.reader.query(query, now_ms)?;
                if let QueryResult::Task(details) = &mut result {
                    self.complete(&mut details.summary, Some(&mut details.notes));
                }
                Ok(result)
            }
        }
    }

    /// Adds what only the index knows: whether a task runs or is parked, and what its handler reports.
    fn complete(&self, summary: &mut TaskSummary, log: Option<&mut ProgressLog>) {
        let state = self.state();
        if summary.state != State::Waiting {
            return;
        }
        summary.parked = state.index.is_parked(summary.id);
        if !state.index.is_running(summary.id) {
            return;
        }
        (summary.state, summary.due_ms) = (State::Running, None);
        summary.attempts += 1;
        let current = state.index.running_task(summary.id).and_then(|task| task.progress_log());
        if let (Some(log), Some(current)) = (log, current) {
            *log = *current;
        }
    }

    fn tasks(&self, filter: &Filter) -> Result<QueryResult, ReadError> {
        if filter.state == Some(State::Running) {
            return Ok(QueryResult::Tasks(self.running(filter)));
        }
        // Running tasks are found among the waiting ones of the journal, and left out.
        let mut found = Vec::new();
        if filter.limit == 0 {
            return Ok(QueryResult::Tasks(found));
        }
        self.reader.list(filter, &mut |listed| {
            let Listed::Task(mut summary) = listed else { return ControlFlow::Continue(()) };
            self.complete(&mut summary, None);
            if filter.state.is_none_or(|wanted| wanted == summary.state) {
                found.push(summary);
            }
            if found.len() < filter.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(QueryResult::Tasks(found))
    }

    /// The tasks of a filter, as far as they are found in time: other queries may wait for this one.
    fn search(&self, filter: &Filter) -> Result<SearchResult, ReadError> {
        if filter.state == Some(State::Running) {
            return Ok(SearchResult { tasks: self.running(filter), is_complete: true, before: None });
        }
        let deadline = Instant::now() + SEARCH_TIME;
        let mut found = SearchResult { is_complete: true, ..SearchResult::default() };
        let mut count = 0_u64;
        self.reader.list(filter, &mut |listed| {
            match listed {
                Listed::Other(id) => found.before = Some(id),
                Listed::Task(mut summary) => {
                    self.complete(&mut summary, None);
                    found.before = Some(summary.id);
                    if filter.state.is_none_or(|wanted| wanted == summary.state) {
                        found.tasks.push(summary);
                    }
                }
            }
            count += 1;
            let is_late = count % SEARCH_CHECK == 0 && Instant::now() > deadline;
            found.is_complete = found.tasks.len() < filter.limit && !is_late;
            if found.is_complete { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(found)
    }

    fn running(&self, filter: &Filter) -> Vec<TaskSummary> {
        let state = self.state();
        let tasks = state.index.running().filter_map(|(_, task)| task);
        let is_wanted = |task: &&Arc<TaskRecord>| {
            matches(filter, task, Some(State::Running)) && has_text(filter, task, None)
        };
        let wanted = tasks.filter(is_wanted);
        let mut found: Vec<_> = wanted
            .map(|task| {
                let attempts = task.attempts() + 1;
                summary(
                    task,
                    &TaskViewParts { state: Some(State::Running), attempts, ..TaskViewParts::default() },
                )
            })
            .collect();
        found.sort_by_key(|summary| std::cmp::Reverse(summary.id));
        found.truncate(filter.limit);
        found
    }
}
