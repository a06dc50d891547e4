//! `task:retry`: lets ended tasks wait again.

use framework::prelude::*;

use super::server_address::ServerAddress;
use super::task_selection::{BulkAction, TaskSelection};

/// Run tasks again that have failed, expired or been cancelled
///
/// They wait again, with all their attempts before them. Tasks that are done are left as they are.
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
        self.tasks.change(BulkAction::Retry, &client, output).await
    }
}
