//! `task:retry`: runs ended tasks again.

use framework::prelude::*;

use crate::options::server_address::ServerAddress;
use crate::options::task_selection::{BulkAction, TaskSelection};

/// Retry tasks that failed, expired or were cancelled
///
/// They wait again, with a fresh number of attempts. Tasks that are done are not changed.
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
        let client = self.server.connect(app).await?;
        self.tasks.apply(BulkAction::Retry, &client, output).await
    }
}
