//! What the server does when something happens.

use framework::prelude::*;

/// The callbacks of the server: on_start, on_connect, on_receive, on_task, on_finish and on_close. Each that
/// is not written here has a default.
pub(crate) struct AsyncTask;

impl Events for AsyncTask {
    async fn on_finish(&self, finished: &Finished) {
        app_log!("{} Finish: {}", finished.id(), finished.outcome().text());
    }
}
