//! What runs when a batch has ended: `task:batch send_mail users.ndjson --then batch_ended`.

use framework::prelude::*;
use serde::{Deserialize, Serialize};

/// Say how a batch has ended
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
        let told = format!("Batch {batch} ({name}) has ended: {done} of {total} done, {not_done} not");
        app_log!("{told}");
        Ok(told)
    }
}
