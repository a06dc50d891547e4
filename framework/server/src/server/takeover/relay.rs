//! Relays the ends of tasks from the new process to the clients that still wait at the old one.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::{Context, Result};
use framework_protocol::task::TaskId;
use framework_protocol::{ErrorCode, RequestError, Status};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream as AsyncUnixStream;

use super::PendingWaiter;
use super::subscriptions::import;
use crate::server::outbox::{Outbox, OutboxState};
use crate::server::subscriptions::Subscriptions;
use crate::server::waiters::Waiter;

/// The most bytes of events that may wait for the old process; beyond it the relay ends.
const MAX_BUFFER: usize = 256 << 20;
/// The error of a client whose task has not ended before the relay has.
pub(super) const RELOADED: &str = "The server was reloaded while the task waited: ask for its result again.";

/// Subscribes to the tasks that clients of the old process wait for. The future reports their events to that
/// process until it ends. To be called within a runtime, and before any task can end.
///
/// # Errors
/// The stream cannot be used.
pub(crate) fn import_waiters(
    subscriptions: &Arc<Subscriptions>,
    awaited: &[PendingWaiter],
    stream: UnixStream,
) -> Result<impl Future<Output = ()> + use<>> {
    stream.set_nonblocking(true)?;
    let stream = AsyncUnixStream::from_std(stream).context("connecting to the old process")?;
    let outbox = Arc::new(Outbox::new(MAX_BUFFER));
    import(subscriptions, awaited, &outbox);
    let subscriptions = subscriptions.clone();
    Ok(async move {
        if let Err(error) = send_events(&outbox, stream).await {
            tracing::debug!("the old process has ended: {error}");
        }
        outbox.abandon();
        subscriptions.remove_connection(&outbox);
    })
}

/// Writes the events of an outbox until the old process has ended.
async fn send_events(outbox: &Outbox, stream: AsyncUnixStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let mut events = Vec::new();
    let sending = async {
        loop {
            outbox.changed().await;
            if outbox.collect(&mut events) != OutboxState::Open {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            writer.write_all(&events).await?;
            events.clear();
        }
    };
    let mut sink = tokio::io::sink();
    tokio::select! {
        result = sending => result,
        // The old process never sends anything; the stream ends with it.
        ended = tokio::io::copy(&mut reader, &mut sink) => ended.map(|_| ()),
    }
}

/// The clients of the old process that still wait for tasks.
pub(super) struct Relay {
    waiting: FxHashMap<TaskId, Vec<RelayedWaiter>>,
}

struct RelayedWaiter {
    waiter: Waiter,
    /// Progress and log lines are wanted as well as the end.
    listens: bool,
}

/// An event of a task, as the new process reports it.
#[derive(Deserialize)]
struct RelayEvent<'a> {
    task_id: TaskId,
    status: Status,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<String>,
}

impl Relay {
    pub(super) fn new(waiting: impl IntoIterator<Item = (TaskId, Waiter, bool)>) -> Self {
        let mut by_task: FxHashMap<TaskId, Vec<RelayedWaiter>> = FxHashMap::default();
        for (task, waiter, listens) in waiting {
            by_task.entry(task).or_default().push(RelayedWaiter { waiter, listens });
        }
        Self { waiting: by_task }
    }

    /// The tasks to be reported.
    pub(super) fn awaited(&self) -> Vec<PendingWaiter> {
        let awaited = self.waiting.iter().map(|(task, waiters)| {
            let listens = waiters.iter().any(|waiter| waiter.listens);
            PendingWaiter { task: *task, listens }
        });
        awaited.collect()
    }

    /// Forwards the events of the new process, until all tasks have ended, the new process has, or `ended`
    /// resolves; clients that are then left receive an error.
    pub(super) async fn run(mut self, stream: UnixStream, ended: impl Future<Output = ()>) {
        tokio::select! {
            () = self.receive(stream) => {}
            () = ended => {}
        }
        let error = RequestError::new(ErrorCode::ShuttingDown, RELOADED);
        let left = self.waiting.into_values().flatten();
        left.for_each(|relayed| relayed.waiter.send_error(&error));
    }

    async fn receive(&mut self, stream: UnixStream) {
        let mut reader = match stream.set_nonblocking(true).and_then(|()| AsyncUnixStream::from_std(stream)) {
            Ok(stream) => BufReader::new(stream),
            Err(error) => return tracing::error!("waiting clients receive no results: {error}"),
        };
        let mut line = Vec::new();
        while !self.waiting.is_empty() {
            line.clear();
            match reader.read_until(b'\n', &mut line).await {
                Ok(1..) if self.forward(&line) => {}
                Ok(_) | Err(_) => break,
            }
        }
    }

    /// Forwards one event; `false` if nothing more will come, as when the new process stops.
    fn forward(&mut self, line: &[u8]) -> bool {
        let Ok(event) = serde_json::from_slice::<RelayEvent>(line) else { return false };
        if matches!(event.status, Status::Progress | Status::Log) {
            let waiters = self.waiting.get(&event.task_id).into_iter().flatten();
            for relayed in waiters.filter(|relayed| relayed.listens) {
                relayed.waiter.outbox.try_send(&relayed.with_id(line));
            }
            return true;
        }
        for relayed in self.waiting.remove(&event.task_id).into_iter().flatten() {
            let mut reply = Vec::new();
            match (event.status, event.result) {
                (Status::Done, result) => {
                    let result = result.map_or("null", RawValue::get);
                    relayed.waiter.render_done(event.task_id, result.as_bytes(), &mut reply);
                }
                (status, _) => {
                    let error = event.error.as_deref().unwrap_or_default();
                    relayed.waiter.render_failed(event.task_id, status, error, &mut reply);
                }
            }
            relayed.waiter.send(&reply);
        }
        true
    }
}

impl RelayedWaiter {
    /// The line, which has no id, with the id of this client's request.
    fn with_id(&self, line: &[u8]) -> Vec<u8> {
        match &self.waiter.id {
            Some(id) => [b"{\"id\":", id.as_bytes(), b",", &line[1..]].concat(),
            None => line.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::outbox::ReplyOrder;
    use crate::server::waiters::EndFormat;

    /// What a client whose request has this id receives of an event of task 7.
    fn forwarded(id: Option<&str>, event: &str) -> String {
        let outbox = Arc::new(Outbox::new(1024));
        outbox.reserve(1);
        let (id, place, format) = (id.map(Into::into), ReplyOrder::Anywhere, EndFormat::Reply);
        let waiter = Waiter { outbox: outbox.clone(), id, place, format };
        assert!(Relay::new([(7, waiter, true)]).forward(format!("{event}\n").as_bytes()));
        let mut sent = Vec::new();
        outbox.collect(&mut sent);
        String::from_utf8(sent).unwrap()
    }

    #[test]
    fn forward_sends_each_event_with_the_id_of_the_request() {
        for event in [
            r#"{"task_id":7,"status":"done","result":1}"#,
            r#"{"task_id":7,"status":"failed","error":"no"}"#,
            r#"{"task_id":7,"status":"cancelled","error":"no"}"#,
            r#"{"task_id":7,"status":"progress","percent":1.0,"text":"some"}"#,
        ] {
            assert_eq!(forwarded(None, event), format!("{event}\n"));
            assert_eq!(forwarded(Some("\"a\""), event), format!("{{\"id\":\"a\",{}\n", &event[1..]));
        }
    }
}
