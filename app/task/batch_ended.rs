//! A completion callback of batches: `task:batch send_mail users.ndjson --then batch_ended`.

use framework::prelude::*;
use serde::{Deserialize, Serialize};

/// Log the counts of a batch that has ended
#[derive(Debug, Serialize, Deserialize, Task)]
#[task(name = "batch_ended")]
struct BatchEnded {
    batch: u64,
    name: String,
    total: u64,
    done: u64,
    failed: u64,
    cancelled: u64,
    expired: u64,
}

impl Handle for BatchEnded {
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {
        let Self { batch, name, total, done, .. } = &self;
        let not_done = self.failed + self.cancelled + self.expired;
        let text = format!("Batch {batch} ({name}) has ended: {done} of {total} done, {not_done} not");
        app_log!("{text}");
        Ok(text)
    }
}
