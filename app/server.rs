//! The six callbacks of the server, with the names of Swoole.

use framework::prelude::*;

use crate::task::Echo;

/// Turns raw data into tasks, and logs a line in each of the six callbacks.
pub(crate) struct AsyncTask;

impl Events for AsyncTask {
    async fn on_start(&self) -> Result<()> {
        app_log!("Start");
        Ok(())
    }

    async fn on_connect(&self, _connection: &Connection) {
        app_log!("Connect");
    }

    async fn on_receive(&self, connection: &Connection, data: Bytes) -> Result<()> {
        let text = String::from_utf8_lossy(&data);
        app_log!("message: {text} from Client: {}", connection.number());
        let id = if text.trim_start().starts_with('{') {
            connection.default_task(data.clone()).await?
        } else {
            connection.task(Echo(text.to_string())).await?
        };
        connection.send(format_args!("Message from Server: {text}, task_id: {id}"));
        Ok(())
    }

    async fn on_task(&self, attempt: &Attempt) -> Outcome {
        app_log!("Dispatch AsyncTask: id={}", attempt.id());
        let outcome = attempt.run().await;
        app_log!("{}, Task Completed", attempt.id());
        outcome
    }

    async fn on_finish(&self, finished: &Finished) {
        match finished.outcome() {
            Outcome::Done(_) => {
                app_log!("AsyncTask[{}] Finish: {}", finished.id(), finished.outcome().text())
            }
            Outcome::Failed(failure) => {
                app_log!("AsyncTask[{}] {:?}: {}", finished.id(), finished.state(), failure.message);
            }
        }
    }

    async fn on_close(&self, _connection: &Connection) {
        app_log!("Close");
    }
}
