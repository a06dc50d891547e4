//! The clients that have asked for something which takes its time, and hear of it until it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use framework_protocol::ReplyWriter;
use framework_protocol::views::{Filter, State};
use serde::Serialize;

use super::outbox::{Outbox, ReplyOrder};
use crate::store::{Query, QueryResult, Store};

/// How often they hear what is still waited for.
pub(super) const PACE: Duration = Duration::from_millis(500);
/// How many running tasks are looked at to tell their functions.
const LOOK: usize = 1_000;

/// Whoever is to hear; each counts as a request in flight.
#[derive(Default)]
pub(super) struct ProgressListeners(Mutex<Vec<ProgressListener>>);

struct ProgressListener {
    outbox: Arc<Outbox>,
    id: Option<Box<str>>,
}

impl ProgressListeners {
    fn all(&self) -> MutexGuard<'_, Vec<ProgressListener>> {
        self.0.lock().expect("no one panics while holding the witnesses")
    }

    /// Lets a client hear, beginning with this.
    pub(super) fn add(&self, outbox: &Arc<Outbox>, id: Option<&str>, news: &impl Serialize) {
        let witness = ProgressListener { outbox: outbox.clone(), id: id.map(Into::into) };
        outbox.reserve(1);
        outbox.write(None, &witness.line(news));
        self.all().push(witness);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    pub(super) fn contains(&self, outbox: &Arc<Outbox>) -> bool {
        self.all().iter().any(|witness| Arc::ptr_eq(&witness.outbox, outbox))
    }

    /// Tells what may be missed.
    pub(super) fn update(&self, news: &impl Serialize) {
        for witness in &*self.all() {
            witness.outbox.try_send(&witness.line(news));
        }
    }

    /// Tells the last of it.
    pub(super) fn finish(&self, news: &impl Serialize) {
        self.all().iter().for_each(|witness| witness.answer(news));
    }

    /// Tells the last of it, and lets them go.
    pub(super) fn finish_and_clear(&self, news: &impl Serialize) {
        std::mem::take(&mut *self.all()).iter().for_each(|witness| witness.answer(news));
    }
}

impl ProgressListener {
    fn answer(&self, news: &impl Serialize) {
        let line = self.line(news);
        self.outbox.fulfil([(ReplyOrder::Anywhere, &*line)].into_iter());
    }

    fn line(&self, news: &impl Serialize) -> Vec<u8> {
        let mut line = Vec::new();
        ReplyWriter::new(&mut line).ok(self.id.as_deref(), news);
        line
    }
}

/// How many tasks of each function run, as far as a look at a thousand of them tells.
pub(super) async fn running(store: &Arc<dyn Store>) -> BTreeMap<String, u64> {
    let filter = Filter { state: Some(State::Running), limit: LOOK, ..Filter::default() };
    let mut running = BTreeMap::new();
    if let Ok(QueryResult::Tasks(tasks)) = store.query(Query::Tasks(filter)).await {
        for task in tasks {
            *running.entry(task.function).or_default() += 1;
        }
    }
    running
}
