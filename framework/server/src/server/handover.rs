//! What a server hands to the one that takes its place, so that no client notices.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::{Context, Result};
use framework_protocol::task::TaskId;
use framework_protocol::{ErrorCode, RequestError, Status};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream as Connected;

use super::inherited_sockets::InheritedSocket;
use super::outbox::{Outbox, OutboxState};
use super::subscriptions::{PendingWaiter, Subscriptions};
use super::waiters::Waiter;

/// More bytes of news than these for a process that does not read them end the telling.
const NEWS_MAX: usize = 256 << 20;

/// What a server takes over from the one before it, or from a service manager; nothing by default.
#[derive(Debug, Default)]
pub struct Handover {
    pub sockets: Vec<InheritedSocket>,
    /// Tasks whose ends clients of the server before still wait for.
    pub awaited: Vec<PendingWaiter>,
    /// Where to tell of these.
    pub line: Option<UnixStream>,
}

/// Seats whom the server before has told of, before any task can end, and tells that one what becomes of them.
///
/// # Errors
/// When the line cannot be used.
pub(super) fn seat(
    subscriptions: &Arc<Subscriptions>,
    awaited: &[PendingWaiter],
    line: UnixStream,
) -> Result<impl Future<Output = ()> + use<>> {
    line.set_nonblocking(true)?;
    let line = Connected::from_std(line).context("reaching the server before this one")?;
    let outbox = Arc::new(Outbox::new(NEWS_MAX));
    subscriptions.import(awaited, &outbox);
    let subscriptions = subscriptions.clone();
    Ok(async move {
        if let Err(error) = tell(&outbox, line).await {
            tracing::debug!("the server before this one has ended: {error}");
        }
        outbox.abandon();
        subscriptions.remove_connection(&outbox);
    })
}

/// Writes what there is to tell until the other side has ended.
async fn tell(outbox: &Outbox, line: Connected) -> std::io::Result<()> {
    let (mut reader, mut writer) = line.into_split();
    let mut news = Vec::new();
    let telling = async {
        loop {
            outbox.changed().await;
            if outbox.collect(&mut news) != OutboxState::Open {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            writer.write_all(&news).await?;
            news.clear();
        }
    };
    let mut nothing = tokio::io::sink();
    tokio::select! {
        result = telling => result,
        // Nothing ever comes from there but its end.
        ended = tokio::io::copy(&mut reader, &mut nothing) => ended.map(|_| ()),
    }
}

/// The clients of a server that has been taken over from, who still wait for tasks.
pub(super) struct Relay {
    waiting: FxHashMap<TaskId, Vec<Listener>>,
}

struct Listener {
    waiter: Waiter,
    listens: bool,
}

/// What the other server tells.
#[derive(Deserialize)]
struct RelayEvent<'a> {
    task_id: TaskId,
    status: Status,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

impl Relay {
    pub(super) fn new(waiting: impl IntoIterator<Item = (TaskId, Waiter, bool)>) -> Self {
        let mut by_task: FxHashMap<TaskId, Vec<Listener>> = FxHashMap::default();
        for (task, waiter, listens) in waiting {
            by_task.entry(task).or_default().push(Listener { waiter, listens });
        }
        Self { waiting: by_task }
    }

    pub(super) fn awaited(&self) -> Vec<PendingWaiter> {
        let awaited = self.waiting.iter().map(|(task, listeners)| {
            let listens = listeners.iter().any(|listener| listener.listens);
            PendingWaiter { task: *task, listens }
        });
        awaited.collect()
    }

    /// Passes on what the other server tells, until it has told everything or has ended, or it is `over`.
    pub(super) async fn run(mut self, line: UnixStream, over: impl Future<Output = ()>) {
        tokio::select! {
            () = self.receive(line) => {}
            () = over => {}
        }
        let reason = "The server was reloaded while the task waited: ask for its result again.";
        let refusal = RequestError::new(ErrorCode::ShuttingDown, reason);
        let left = self.waiting.into_values().flatten();
        left.for_each(|listener| listener.waiter.send_error(&refusal));
    }

    async fn receive(&mut self, line: UnixStream) {
        let mut lines = match line.set_nonblocking(true).and_then(|()| Connected::from_std(line)) {
            Ok(line) => BufReader::new(line),
            Err(error) => return tracing::error!("clients that wait cannot be told: {error}"),
        };
        let mut news = Vec::new();
        while !self.waiting.is_empty() {
            news.clear();
            match lines.read_until(b'\n', &mut news).await {
                Ok(1..) if self.pass(&news) => {}
                Ok(_) | Err(_) => break,
            }
        }
    }

    /// `false`: nothing more will come, as when the other server stops.
    fn pass(&mut self, line: &[u8]) -> bool {
        let Ok(news) = serde_json::from_slice::<RelayEvent>(line) else { return false };
        if matches!(news.status, Status::Progress | Status::Log) {
            let listeners = self.waiting.get(&news.task_id).into_iter().flatten();
            for listener in listeners.filter(|listener| listener.listens) {
                listener.waiter.outbox.try_send(&listener.named(line));
            }
            return true;
        }
        for listener in self.waiting.remove(&news.task_id).into_iter().flatten() {
            let mut answer = Vec::new();
            match (news.status, news.result) {
                (Status::Done, Some(result)) => {
                    listener.waiter.render_done(news.task_id, result.get().as_bytes(), &mut answer);
                }
                _ => answer = listener.named(line),
            }
            listener.waiter.send(&answer);
        }
        true
    }
}

impl Listener {
    /// A line without an id, with the id of this request in it.
    fn named(&self, line: &[u8]) -> Vec<u8> {
        match &self.waiter.id {
            Some(id) => [b"{\"id\":", id.as_bytes(), b",", &line[1..]].concat(),
            None => line.to_vec(),
        }
    }
}
