//! The client that opens, fills, seals, cancels, retries, forgets and flushes what is in one queue.

use framework::store::AdminCommand;
use framework::task::{BatchId, TaskId};
use framework::views::{AdminResult, FailureFilter, ScheduleNote, State, TaskSelector};
use futures_util::future::try_join;

use super::changes::Client;
use super::knowledge::{KnownBatch, KnownTask, Progress};

/// The most batches of a queue that are changed, the newest ones.
const BATCHES: usize = 5;

impl Client<'_> {
    pub(super) async fn change_on(&self, queue: &str) -> Result<(), String> {
        while !self.disk.is_off() {
            match self.number(20) {
                0..=2 => self.open_batch(queue).await?,
                3..=7 => self.fill(queue).await?,
                8 | 9 => self.seal(queue).await?,
                10 | 11 => self.cancel_batch(queue).await?,
                12 => self.cancel_task(queue).await?,
                13..=15 => self.retry(queue).await?,
                16 => self.forget(queue).await?,
                17 if self.number(2) == 0 => {
                    self.apply(AdminCommand::Flush { queue: Some(queue.to_owned()) }).await?;
                }
                18 => self.note_schedule().await?,
                _ => {
                    for _ in 0..self.number(30) {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        Ok(())
    }

    async fn open_batch(&self, queue: &str) -> Result<(), String> {
        let has_then = self.number(2) == 0;
        let then = has_then.then(|| "test_shout".to_owned());
        let (name, function) = ("cut".to_owned(), "test_shout".to_owned());
        let opened = self.apply(AdminCommand::OpenBatch { name, function, then }).await?;
        let Some(AdminResult::Batch(id)) = opened else { return Ok(()) };
        let (seal, abandon) = (Progress::Never, Progress::Never);
        let batch = KnownBatch { queue: queue.to_owned(), has_then, seal, abandon, may_have_unknown: false };
        self.play.knowledge().batches.insert(id, batch);
        Ok(())
    }

    /// One of the newest batches of the queue.
    fn batch(&self, queue: &str, is_wanted: impl Fn(&KnownBatch) -> bool) -> Option<BatchId> {
        let knowledge = self.play.knowledge();
        let own = knowledge.batches.iter().rev().filter(|(_, batch)| batch.queue == queue).take(BATCHES);
        let wanted: Vec<_> = own.filter(|(_, batch)| is_wanted(batch)).map(|(id, _)| *id).collect();
        drop(knowledge);
        self.one_of(&wanted)
    }

    fn open_one(&self, queue: &str) -> Option<BatchId> {
        self.batch(queue, |batch| batch.seal == Progress::Never && batch.abandon == Progress::Never)
    }

    async fn fill(&self, queue: &str) -> Result<(), String> {
        let Some(batch) = self.open_one(queue) else { return Ok(()) };
        self.push_into(queue, batch).await
    }

    async fn push_into(&self, queue: &str, batch: BatchId) -> Result<(), String> {
        let task = || {
            let mut task = self.task(queue, "in a batch");
            task.extra_mut().batch = Some(batch);
            task
        };
        self.push((0..=self.number(5)).map(|_| task()).collect()).await.map(drop)
    }

    async fn seal(&self, queue: &str) -> Result<(), String> {
        let Some(id) = self.open_one(queue) else { return Ok(()) };
        let seal = async {
            self.change_batch(id, |batch| batch.seal = Progress::Sent);
            if self.apply(AdminCommand::SealBatch(id)).await?.is_some() {
                self.change_batch(id, |batch| batch.seal = Progress::Acknowledged);
            }
            Ok(())
        };
        match self.number(3) {
            0 => try_join(self.push_into(queue, id), seal).await.map(drop),
            1 => try_join(seal, self.push_into(queue, id)).await.map(drop),
            _ => seal.await,
        }
    }

    async fn cancel_batch(&self, queue: &str) -> Result<(), String> {
        let Some(id) = self.batch(queue, |_| true) else { return Ok(()) };
        let cancel = async {
            self.change_batch(id, |batch| batch.cancel(Progress::Sent));
            let cancel = AdminCommand::Cancel(TaskSelector::Batch(id));
            if self.apply(cancel).await?.is_some() {
                self.change_batch(id, |batch| batch.cancel(Progress::Acknowledged));
            }
            Ok(())
        };
        match self.number(3) {
            0 => try_join(self.push_into(queue, id), cancel).await.map(drop),
            _ => cancel.await,
        }
    }

    fn change_batch(&self, id: BatchId, change: impl FnOnce(&mut KnownBatch)) {
        let _ = self.play.knowledge().batches.get_mut(&id).map(change);
    }

    /// A task of the queue.
    fn one_task(&self, queue: &str, is_wanted: impl Fn(&KnownTask) -> bool) -> Option<TaskId> {
        let knowledge = self.play.knowledge();
        let wanted = knowledge.tasks.iter().filter(|(_, task)| task.queue == queue && is_wanted(task));
        let wanted: Vec<_> = wanted.map(|(id, _)| *id).collect();
        drop(knowledge);
        self.one_of(&wanted)
    }

    async fn cancel_task(&self, queue: &str) -> Result<(), String> {
        let waiting = |task: &KnownTask| task.is_surely(|fate| fate == Some(State::Waiting));
        let Some(id) = self.one_task(queue, waiting) else { return Ok(()) };
        self.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await.map(drop)
    }

    fn selector(&self, queue: &str, is_wanted: impl Fn(&KnownTask) -> bool) -> Option<TaskSelector> {
        Some(match self.number(3) {
            0 => TaskSelector::Task(self.one_task(queue, is_wanted)?),
            1 => TaskSelector::Batch(self.batch(queue, |_| true)?),
            _ => TaskSelector::Failed(FailureFilter::of_queue(queue)),
        })
    }

    async fn retry(&self, queue: &str) -> Result<(), String> {
        let failed = |task: &KnownTask| task.is_surely(|fate| fate == Some(State::Failed));
        let Some(selector) = self.selector(queue, failed) else { return Ok(()) };
        self.apply(AdminCommand::Retry(selector)).await.map(drop)
    }

    async fn forget(&self, queue: &str) -> Result<(), String> {
        let ended = |task: &KnownTask| task.is_surely(|fate| fate.is_some_and(State::is_terminal));
        let Some(selector) = self.selector(queue, ended) else { return Ok(()) };
        self.apply(AdminCommand::Forget(selector)).await.map(drop)
    }

    async fn note_schedule(&self) -> Result<(), String> {
        let fired = {
            let mut knowledge = self.play.knowledge();
            knowledge.fired.1 += 1;
            knowledge.fired.1
        };
        let note = ScheduleNote { fired_ms: Some(fired), ..ScheduleNote::default() };
        let noted = self.apply(AdminCommand::Schedule { name: "cut".to_owned(), note }).await?;
        if noted.is_some() {
            let mut knowledge = self.play.knowledge();
            knowledge.fired.0 = knowledge.fired.0.max(fired);
        }
        Ok(())
    }
}

impl KnownBatch {
    /// A cancel of what is not sealed.
    fn cancel(&mut self, progress: Progress) {
        if self.seal == Progress::Never {
            self.abandon = progress;
        }
    }
}
