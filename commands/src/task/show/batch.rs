//! Prints the state of a batch.

use framework::prelude::*;
use framework::views::BatchInfo;

use crate::facts::print_facts;
use crate::format::{batch_state, format_timestamp};

pub(super) fn print(batch: &BatchInfo, output: &mut Output) {
    let then = batch.then.as_ref().map(|then| match batch.then_task {
        Some(task) => format!("{then}, task {task}"),
        None => then.clone(),
    });
    print_facts(
        &[
            ("batch", Some(batch.id.to_string())),
            ("name", Some(batch.name.clone())),
            ("function", Some(batch.function.clone())),
            ("state", Some(batch_state(batch))),
            ("opened", Some(format_timestamp(batch.opened_ms))),
            ("ended", batch.ended_ms.map(format_timestamp)),
            ("then", then),
        ],
        output,
    );
    output.line("");
    let row = [batch.total, batch.done, batch.failed, batch.cancelled, batch.expired];
    output.table(["total", "done", "failed", "cancelled", "expired"], &[row.map(|count| count.to_string())]);
}
