//! `task:forget`: deletes ended tasks.

use framework::prelude::*;

use crate::options::server_address::ServerAddress;
use crate::options::task_selection::{BulkAction, TaskSelection};

/// Delete ended tasks with their results, errors and logs
///
/// The ledger still counts them. At a terminal, it asks before it deletes the tasks of a batch or failed
/// ones; --force skips that. Many tasks are deleted in steps; Ctrl-C ends it after a step. If the server
/// dies meanwhile, it goes on when it starts again.
#[derive(Args, Command)]
#[command(name = "task:forget")]
struct Forget {
    #[command(flatten)]
    tasks: TaskSelection,
    /// Do not ask for confirmation
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Forget {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        self.tasks.check()?;
        let client = self.server.connect(app).await?;
        if !self.force {
            self.tasks.confirm_removal(&client, app, output).await?;
        }
        self.tasks.apply(BulkAction::Forget, &client, &self.server, app, output).await
    }
}
