//! Tasks that end by themselves if nobody starts them in time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use framework_protocol::task::TaskId;
use rustc_hash::FxHashMap;

use crate::store::clock::Now;
use crate::store::ready_queues::ReadyAt;

#[derive(Debug, Default)]
pub(super) struct ExpiryHeap {
    /// In microseconds of steady time, and in milliseconds of the wall's.
    steady: BinaryHeap<Reverse<(u64, TaskId)>>,
    wall: BinaryHeap<Reverse<(u64, TaskId)>>,
    /// Those not started yet; `true` while leased, when nobody knows whether it will be started.
    open: FxHashMap<TaskId, bool>,
    /// One was added since somebody last asked.
    sooner: bool,
}

/// A leased task that comes back is looked at again after this long.
const AGAIN: Duration = Duration::from_millis(100);
/// Somebody may set the clock on the wall at any time, so that it is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

impl ExpiryHeap {
    pub(super) fn add(&mut self, id: TaskId, when: ReadyAt) {
        self.open.insert(id, false);
        self.sooner = true;
        match when {
            ReadyAt::Now => self.steady.push(Reverse((0, id))),
            ReadyAt::Steady(at) => self.steady.push(Reverse((micros(at), id))),
            ReadyAt::Wall(at) => self.wall.push(Reverse((at, id))),
        }
    }

    /// Notes that a task is leased, or comes back without having been started.
    pub(super) fn lease(&mut self, id: TaskId, leased: bool) {
        if self.open.is_empty() {
            return;
        }
        if let Some(open) = self.open.get_mut(&id) {
            *open = leased;
        }
    }

    /// A task was started or has ended: it does not expire any more.
    pub(super) fn remove(&mut self, id: TaskId) {
        if !self.open.is_empty() {
            self.open.remove(&id);
        }
    }

    /// Whether a task was added since somebody last asked.
    pub(super) fn is_sooner(&mut self) -> bool {
        std::mem::take(&mut self.sooner)
    }

    /// Whether no task can expire at all, which is the rule.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The tasks that have expired.
    pub(super) fn due(&mut self, now: Now) -> Vec<TaskId> {
        let mut due = Vec::new();
        let mut again = Vec::new();
        for (heap, now) in [(&mut self.steady, micros(now.steady)), (&mut self.wall, now.wall_ms)] {
            while let Some(Reverse((_, id))) = heap.peek().filter(|Reverse((at, _))| *at <= now).copied() {
                heap.pop();
                match self.open.get(&id) {
                    Some(true) => again.push(id),
                    Some(false) => due.push(id),
                    None => {}
                }
            }
        }
        let later = micros(now.steady + AGAIN);
        self.steady.extend(again.into_iter().map(|id| Reverse((later, id))));
        for id in &due {
            self.open.remove(id);
        }
        due
    }

    /// How long from now until the next one expires.
    pub(super) fn next(&self, now: Now) -> Option<Duration> {
        let steady =
            self.steady.peek().map(|Reverse((at, _))| Duration::from_micros(*at).saturating_sub(now.steady));
        let wall = self
            .wall
            .peek()
            .map(|Reverse((at, _))| Duration::from_millis(at.saturating_sub(now.wall_ms)).min(LOOK));
        steady.into_iter().chain(wall).min()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
