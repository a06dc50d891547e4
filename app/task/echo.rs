//! Returns a text: the task that raw text such as `hello` in telnet becomes.

use framework::prelude::*;
use serde::{Deserialize, Serialize};

/// Return a text
#[derive(Debug, Serialize, Deserialize, Task)]
#[task(name = "echo")]
pub(crate) struct Echo(pub(crate) String);

impl Handle for Echo {
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {
        Ok(format!("{} -> OK", self.0))
    }
}
