//! `task:forget`: removes ended tasks with all that is kept of them.

use framework::prelude::*;

use super::server_address::ServerAddress;
use super::task_selection::{BulkAction, TaskSelection};

/// Remove ended tasks, with all that is kept of them
///
/// The ledger goes on counting them.
#[derive(Args, Command)]
#[command(name = "task:forget")]
struct Forget {
    #[command(flatten)]
    tasks: TaskSelection,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Forget {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        self.tasks.change(BulkAction::Forget, &client, output).await
    }
}
