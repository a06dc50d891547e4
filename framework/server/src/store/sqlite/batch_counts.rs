//! The counts of batches, which change in the transactions in which their tasks come in, end and wait again,
//! and the ends of batches.

use framework_protocol::task::BatchId;
use framework_protocol::views::{BatchInfo, State};
use rusqlite::{Connection, Result, params};

/// Changes of the counts of batches, to be written together.
#[derive(Debug, Default)]
pub(super) struct BatchCounts(Vec<(BatchId, Counts)>);

/// The total, and the tasks that are done, failed, cancelled and expired.
type Counts = [i64; 5];

impl BatchCounts {
    /// Counts a task that comes in.
    pub(super) fn accepted(&mut self, batch: BatchId) {
        self.of(batch)[0] += 1;
    }

    /// Counts a task that ends.
    pub(super) fn ended(&mut self, batch: BatchId, state: State) {
        self.of(batch)[place(state)] += 1;
    }

    /// Counts an ended task that waits again.
    pub(super) fn again(&mut self, batch: BatchId, state: State) {
        self.of(batch)[place(state)] -= 1;
    }

    fn of(&mut self, batch: BatchId) -> &mut Counts {
        if self.0.last().is_none_or(|(last, _)| *last != batch) {
            self.0.push((batch, Counts::default()));
        }
        let last = self.0.len() - 1;
        &mut self.0[last].1
    }

    /// Writes the changes; those of batches that have ended are without effect.
    pub(super) fn write(&mut self, file: &Connection) -> Result<()> {
        let sql = "UPDATE batches SET total = total + ?2, done = done + ?3, failed = failed + ?4, \
            cancelled = cancelled + ?5, expired = expired + ?6 WHERE id = ?1 AND state <> 'ended'";
        for (batch, [total, done, failed, cancelled, expired]) in self.0.drain(..) {
            let row = [batch as i64, total, done, failed, cancelled, expired];
            file.prepare_cached(sql)?.execute(row)?;
        }
        Ok(())
    }

    /// Writes the end of a batch, after the counts that led to it, and deletes ended ones that are not among
    /// the `kept` last batches. The last one of all stays: its id must not be given again.
    pub(super) fn end(&mut self, file: &Connection, info: &BatchInfo, kept: usize) -> Result<()> {
        self.write(file)?;
        let sql = "UPDATE batches SET state = ?2, ended_ms = ?3, then_function = ?4 WHERE id = ?1";
        let ended_ms = info.ended_ms.map(|at_ms| at_ms as i64);
        file.prepare_cached(sql)?.execute(params![info.id as i64, info.state.name(), ended_ms, info.then])?;
        let sql = "DELETE FROM batches WHERE id <= (SELECT max(id) FROM batches) - max(?1, 1) AND id <> ?2 \
            AND state = 'ended'";
        file.prepare_cached(sql)?.execute([kept as i64, info.id as i64]).map(drop)
    }
}

fn place(state: State) -> usize {
    match state {
        State::Done => 1,
        State::Failed => 2,
        State::Cancelled => 3,
        State::Expired => 4,
        State::Waiting | State::Running => unreachable!("a batch counts ends"),
    }
}
