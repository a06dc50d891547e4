//! `resize_image`: gives back what it was given.

use framework::prelude::*;
use serde::{Deserialize, Serialize};

/// Give back what was given
#[derive(Serialize, Deserialize, Task)]
#[serde(deny_unknown_fields)]
#[task(name = "resize_image", timeout = "30s")]
pub(crate) struct ResizeImage {
    pub(crate) text: String,
}

impl Handle for ResizeImage {
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {
        Ok(self.text)
    }
}
