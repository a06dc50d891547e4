//! A client that remembers which ends it waits for.

use framework::client::{Client, ClientError, Request, TaskEnd, TaskHandle};
use framework::task::TaskId;

/// A client, and the tasks whose ends it waits for.
pub(super) struct Caller {
    client: Client,
    awaited: Vec<TaskHandle>,
}

impl std::ops::Deref for Caller {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Caller {
    pub(super) fn new(client: Client) -> Self {
        Self { client, awaited: Vec::new() }
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<TaskId, ClientError> {
        self.client.send(request).await.map(|sent| sent.id())
    }

    pub(super) async fn send_awaited(&mut self, request: &Request) -> Result<TaskId, ClientError> {
        let sent = self.client.send(request).awaited().await?;
        self.awaited.push(sent);
        Ok(self.awaited[self.awaited.len() - 1].id())
    }

    /// The next end of a task that is awaited.
    pub(super) async fn ended(&mut self) -> Result<(TaskId, TaskEnd), ClientError> {
        let ends: Vec<_> = self.awaited.iter_mut().map(|sent| Box::pin(sent.ended())).collect();
        let (ended, index, _) = futures_util::future::select_all(ends).await;
        let id = self.awaited.remove(index).id();
        Ok((id, ended?))
    }
}
