//! `schedule:pause` and `schedule:resume`.

use framework::prelude::*;

use crate::pause::{Pausable, PauseOptions};

/// Pause a schedule
///
/// It creates no more tasks; those that it has created go on. The pause survives a restart; schedule:resume
/// ends it, and runs that were due in between are skipped.
#[derive(Args, Command)]
#[command(name = "schedule:pause")]
struct Pause {
    /// The name of the schedule, as in schedule:list
    name: String,
    #[command(flatten)]
    options: PauseOptions,
}

/// Resume a paused schedule
///
/// It creates tasks again, from its next time on. Runs that were due during the pause are skipped.
#[derive(Args, Command)]
#[command(name = "schedule:resume")]
struct Resume {
    /// The name of the schedule, as in schedule:list
    name: String,
    #[command(flatten)]
    options: PauseOptions,
}

impl Execute for Pause {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        Pausable::Schedule.set_paused(&self.name, true, self.options, app, output).await
    }
}

impl Execute for Resume {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        Pausable::Schedule.set_paused(&self.name, false, self.options, app, output).await
    }
}
