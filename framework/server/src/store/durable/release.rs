//! What follows once a group is written: its tasks can be taken, and its answers go out.

use std::sync::Arc;
use std::time::Instant;

use framework_protocol::RequestError;
use framework_protocol::task::{TaskId, TaskRecord};
use framework_protocol::views::State;
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::journal::{Journal, Written};
use super::write_queue::{PushRequest, WriteRequest};
use super::writer::Writer;
use crate::store::Accepted;
use crate::store::clock::Now;
use crate::store::index::{FollowUp, Record};

/// The answer to one pushed task.
type Answer = Result<Accepted, RequestError>;

/// The parts of a group that is written.
#[derive(Default)]
struct WrittenGroup {
    /// The number of tasks that were pushed, also of those that were there already.
    pushed: usize,
    /// The tasks that can be taken from now on.
    arrived: Vec<Arc<TaskRecord>>,
    answers: Vec<(oneshot::Sender<Vec<Answer>>, Vec<Answer>)>,
    barriers: Vec<oneshot::Sender<()>>,
    /// The events, whose references to ended tasks are dropped after all answers are out.
    records: Vec<Record>,
}

impl<J: Journal> Writer<J> {
    /// Lets the tasks of a group be taken, and sends its answers.
    pub(super) fn release(&mut self, group: Vec<WriteRequest>, written: Written) {
        let now = self.shared.clock.now();
        self.shared.marks.iter().for_each(|marks| marks.note_next_id(self.journal.next_id()));
        let accepted = self.with_states(written.accepted, &group);
        let group = WrittenGroup::of(group, accepted, written.followed, now);
        let wake_set = {
            let mut state = self.shared.state();
            state.arriving -= group.pushed;
            if group.pushed > 0 {
                state.outage = None;
            }
            for task in group.arrived {
                let insertion = state.index.new_insertion(task, now);
                state.index.insert_new(insertion);
            }
            state.index.wake_set(now)
        };
        for (answer, results) in group.answers {
            let _ = answer.send(results);
        }
        self.shared.wakeups.notify(wake_set);
        for barrier in group.barriers {
            let _ = barrier.send(());
        }
        drop(group.records);
    }

    /// Completes the states of duplicates by what the journal does not have yet: whether the earlier task
    /// runs, and the ends on their way there.
    fn with_states(&self, mut accepted: Vec<Answer>, group: &[WriteRequest]) -> Vec<Answer> {
        let waits = |answer: &Answer| matches!(answer, Ok(Accepted { duplicate: Some(State::Waiting), .. }));
        if !accepted.iter().any(waits) {
            return accepted;
        }
        let state = self.shared.state();
        let ends: FxHashMap<_, _> =
            group.iter().flat_map(WriteRequest::ends).chain(state.write_queue.ends()).collect();
        for duplicate in accepted.iter_mut().flatten().filter(|accepted| !accepted.is_new()) {
            if state.index.is_running(duplicate.id) {
                duplicate.duplicate = Some(State::Running);
            } else if let Some(end) = ends.get(&duplicate.id) {
                duplicate.duplicate = Some(*end);
            }
        }
        accepted
    }
}

impl WrittenGroup {
    /// Divides a group; `accepted` are the answers to its pushed tasks and `followed` the ids of the tasks
    /// that follow others, both in the order of the group.
    fn of(group: Vec<WriteRequest>, accepted: Vec<Answer>, followed: Vec<TaskId>, now: Now) -> Self {
        let (mut accepted, mut followed) = (accepted.into_iter(), followed.into_iter());
        let at = Instant::now();
        let record = |id, new| Arc::new(TaskRecord::new(id, new, at, now.wall_ms));
        let mut parts = Self::default();
        for item in group {
            match item {
                WriteRequest::Push(PushRequest { tasks, on_accepted, answer }) => {
                    parts.pushed += tasks.len();
                    let results: Vec<_> = accepted.by_ref().take(tasks.len()).collect();
                    let places = results.iter().enumerate();
                    let mut places =
                        places.filter_map(|(place, result)| Some((place, *result.as_ref().ok()?)));
                    if results.iter().any(Result::is_ok) {
                        on_accepted(&mut places);
                    }
                    let new = results.iter().zip(tasks).filter_map(|(result, new)| {
                        let accepted = result.as_ref().ok().filter(|accepted| accepted.is_new())?;
                        Some(record(accepted.id, new))
                    });
                    parts.arrived.extend(new);
                    parts.answers.push((answer, results));
                }
                WriteRequest::Records(all) => {
                    for event in all {
                        match event {
                            Record::Follow(FollowUp { new, .. }) => {
                                parts.arrived.extend(followed.next().map(|id| record(id, new)));
                            }
                            event => parts.records.push(event),
                        }
                    }
                }
                WriteRequest::Barrier(answer) => parts.barriers.push(answer),
                WriteRequest::Command(_) | WriteRequest::Terminate(..) => {}
            }
        }
        parts
    }
}
