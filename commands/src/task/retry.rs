//! `task:retry`: runs ended tasks again.

use framework::prelude::*;

use crate::options::server_address::ServerAddress;
use crate::options::task_selection::{BulkAction, TaskSelection};

/// Retry tasks that failed, expired or were cancelled
///
/// They wait again, with a fresh number of attempts. Tasks that are done are not changed.
///
/// Many tasks are retried in steps, and the first of them may run before the last ones wait. Ctrl-C ends it
/// after a step: what is retried by then stays so. If the server dies meanwhile, it goes on when it starts
/// again.
#[derive(Args, Command)]
#[command(name = "task:retry")]
struct Retry {
    #[command(flatten)]
    tasks: TaskSelection,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Retry {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        self.tasks.check()?;
        let client = self.server.connect(app).await?;
        self.tasks.apply(BulkAction::Retry, &client, &self.server, app, output).await
    }
}
