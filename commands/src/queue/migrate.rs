//! `queue:migrate`: brings the database of the queue to the version of this program.

use framework::prelude::*;
use framework::server::ServerSettings;
use framework::store::store_kind;

/// Bring the database of the queue to this version
///
/// Makes its schema if it is not there, or changes the one of an earlier version; one process at a time. A
/// server does the same when it starts, so that this is for those whose servers may not change tables. A
/// queue file is always changed by the server.
#[derive(Args, Command)]
#[command(name = "queue:migrate")]
struct Migrate {}

impl Execute for Migrate {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let config = app.config()?;
        let settings: ServerSettings = config.section()?;
        let Some(location) = settings.store_location(config)? else {
            output.success("Nothing to do: the queue is in no database (store of config/server.toml).");
            return Ok(());
        };
        output.success(store_kind(&location.address)?.migrate(location)?);
        Ok(())
    }
}
