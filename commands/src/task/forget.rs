//! `task:forget`: removes ended tasks with all that is kept of them.

use framework::prelude::*;

use super::server_address::ServerAddress;
use super::several::{Several, Verb};

/// Remove ended tasks, with all that is kept of them
///
/// The ledger goes on counting them.
#[derive(Args, Command)]
#[command(name = "task:forget")]
struct Forget {
    #[command(flatten)]
    tasks: Several,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Forget {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        self.tasks.change(Verb::Forget, &client, output).await
    }
}
