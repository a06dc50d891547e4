//! `echo`: gives back a text.

use framework::prelude::*;
use serde::{Deserialize, Serialize};

/// Give back a text
#[derive(Serialize, Deserialize, Task)]
#[task(name = "echo")]
pub(crate) struct Echo(String);

impl Handle for Echo {
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {
        Ok(format!("{} -> OK", self.0))
    }
}
