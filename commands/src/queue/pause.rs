//! `queue:pause` and `queue:resume`.

use framework::prelude::*;

use crate::pause::{Pausable, PauseOptions};

/// Pause a queue
///
/// Workers take no more tasks from it. Running tasks go on, and new ones are accepted. The pause survives a
/// restart; queue:resume ends it.
#[derive(Args, Command)]
#[command(name = "queue:pause")]
struct Pause {
    /// The name of the queue
    queue: String,
    #[command(flatten)]
    options: PauseOptions,
}

/// Resume a paused queue
///
/// Workers take tasks from it again.
#[derive(Args, Command)]
#[command(name = "queue:resume")]
struct Resume {
    /// The name of the queue
    queue: String,
    #[command(flatten)]
    options: PauseOptions,
}

impl Execute for Pause {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        Pausable::Queue.set_paused(&self.queue, true, self.options, app, output).await
    }
}

impl Execute for Resume {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        Pausable::Queue.set_paused(&self.queue, false, self.options, app, output).await
    }
}
