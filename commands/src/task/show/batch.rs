//! How far a batch is, as people read it.

use framework::prelude::*;
use framework::store::BatchStory;

use super::facts;
use crate::people::{batch_state, time};

pub(super) fn print(batch: &BatchStory, output: &mut Output) {
    let then = batch.then.as_ref().map(|then| match batch.then_task {
        Some(task) => format!("{then}, task {task}"),
        None => then.clone(),
    });
    facts(
        &[
            ("batch", Some(batch.id.to_string())),
            ("name", Some(batch.name.escape_debug().to_string())),
            ("function", Some(batch.function.clone())),
            ("state", Some(batch_state(batch))),
            ("opened", Some(time(batch.opened_ms))),
            ("ended", batch.ended_ms.map(time)),
            ("then", then),
        ],
        output,
    );
    output.line("");
    let row = [batch.total, batch.done, batch.failed, batch.cancelled, batch.expired];
    output.table(["total", "done", "failed", "cancelled", "expired"], &[row.map(|count| count.to_string())]);
}
