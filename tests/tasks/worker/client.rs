//! A client that remembers the tasks whose ends it awaits.

use framework::client::{Client, ClientError, Request, TaskEnd, TaskHandle};
use framework::task::TaskId;
use futures_util::future::select_all;

use crate::harness::eventually::in_time;

/// A client, and the tasks whose ends it awaits.
pub(super) struct TestClient {
    client: Client,
    awaited: Vec<TaskHandle>,
}

impl std::ops::Deref for TestClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl TestClient {
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

    /// The next end of an awaited task.
    pub(super) async fn ended(&mut self) -> Result<(TaskId, TaskEnd), ClientError> {
        let ends: Vec<_> = self.awaited.iter_mut().map(|sent| Box::pin(sent.ended())).collect();
        let (ended, index, _) = in_time("the end of a task", select_all(ends)).await;
        let id = self.awaited.remove(index).id();
        Ok((id, ended?))
    }
}
