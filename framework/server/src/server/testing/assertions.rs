//! What a test may ask a server about its tasks.

use framework_protocol::task::{Task, TaskId};
use framework_protocol::views::{Filter, State, TaskDetails};
use serde::de::DeserializeOwned;

use super::TestServer;
use crate::store::{Query, QueryResult, Store};

/// The most tasks that are looked at.
const MOST: usize = 10_000;

impl TestServer {
    /// The details of a task.
    ///
    /// # Panics
    /// When there is no such task.
    #[track_caller]
    pub fn task(&self, id: TaskId) -> TaskDetails {
        match self.block(self.store.query(Query::Task(id))) {
            Ok(QueryResult::Task(details)) => *details,
            _ => panic!("there is no task {id}"),
        }
    }

    /// The result of a task that is done.
    ///
    /// # Panics
    /// When it is not done, or its result is no `R`.
    #[track_caller]
    pub fn result<R: DeserializeOwned>(&self, id: TaskId) -> R {
        let task = self.task(id);
        let error = task.summary.error.as_deref().unwrap_or_default();
        assert_eq!(task.summary.state, State::Done, "task {id} is not done: {error}");
        let result = task.result.as_ref().map_or("null", |result| result.get());
        serde_json::from_str(result)
            .unwrap_or_else(|error| panic!("the result of task {id}, {result}: {error}"))
    }

    /// The tasks of a function that wait, the first one first.
    ///
    /// # Panics
    /// When the arguments of one do not fit `T`.
    #[track_caller]
    pub fn enqueued<T: Task>(&self) -> Vec<T> {
        let filter = Filter {
            state: Some(State::Waiting),
            function: Some(T::NAME.to_owned()),
            limit: MOST,
            ..Filter::default()
        };
        let Ok(QueryResult::Tasks(mut found)) = self.block(self.store.query(Query::Tasks(filter))) else {
            panic!("the tasks cannot be listed");
        };
        found.sort_by_key(|task| task.id);
        let args = |id| self.task(id).args;
        let read = |text: &str| {
            serde_json::from_str(text)
                .unwrap_or_else(|error| panic!("the arguments of {}, {text}: {error}", T::NAME))
        };
        found.into_iter().map(|task| read(args(task.id).get())).collect()
    }

    /// Asserts that a task of this function waits for which `fits` is true.
    ///
    /// # Panics
    /// When there is none; the message shows those that wait.
    #[track_caller]
    pub fn assert_enqueued<T: Task>(&self, fits: impl Fn(&T) -> bool) {
        let waiting = self.enqueued::<T>();
        let shown: Vec<_> =
            waiting.iter().map(|task| serde_json::to_string(task).unwrap_or_default()).collect();
        let name = T::NAME;
        assert!(
            waiting.iter().any(fits),
            "no task of {name} that waits fits; there are {}: {shown:?}",
            shown.len()
        );
    }

    /// Asserts that no task of this function waits.
    ///
    /// # Panics
    /// When there is one.
    #[track_caller]
    pub fn assert_none_enqueued<T: Task>(&self) {
        let waiting = self.enqueued::<T>();
        let shown: Vec<_> =
            waiting.iter().map(|task| serde_json::to_string(task).unwrap_or_default()).collect();
        assert!(waiting.is_empty(), "tasks of {} wait: {shown:?}", T::NAME);
    }
}
