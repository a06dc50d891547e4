//! One connection of a worker.

use std::sync::Arc;
use std::time::Duration;

use framework_protocol::worker::{
    EndsWriter, JoinReply, RunnerUpdate, ServerMessage, StartedTask, WorkRequest,
};
use framework_protocol::{MessageBatch, Reply, Status};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::prefetch::{self, Prefetch};
use super::server_socket::AttemptWriter;
use super::unsettled::LeasedEnd;
use super::{HeldTask, RESUMES_MAX, Worker, WorkerStop};
use crate::connection::{Connection, Step};
use crate::error::{ClientError, Result, is_transient};
use crate::replies;

/// The version of the messages of workers.
const VERSION: u32 = 1;
/// The time within which a server replies to a worker that joins.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// The time within which it reads the last ends of one that goes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Reports are dropped while so many bytes wait for the server.
const OUTPUT_MAX: usize = 4 << 20;

/// One connection of a worker, from `work` to its end.
pub(super) struct WorkerSession<'a, 'b> {
    worker: &'a mut Worker<'b>,
    connection: Connection,
    /// The reply to `work`; `None` before it.
    joined: Option<JoinReply>,
    /// The credit that was asked for, less the tasks that have come.
    credit: u32,
    heartbeats: Interval,
    /// The time by which a worker that goes has ended; `None` for one that works.
    leaves_by: Option<Instant>,
    /// The server has refused a message of a worker that has joined.
    is_refused: bool,
}

/// The end of a connection.
pub(super) enum Ended {
    /// The worker is to stop, and has.
    Stopped,
    Lost(ClientError),
    /// The server has refused a message of the worker.
    Refused(ClientError),
}

impl<'a, 'b> WorkerSession<'a, 'b> {
    pub(super) fn new(worker: &'a mut Worker<'b>, connection: Connection) -> Self {
        // Replaced once the server has said how often.
        let heartbeats = interval(REPLY_TIMEOUT);
        Self { worker, connection, joined: None, credit: 0, heartbeats, leaves_by: None, is_refused: false }
    }

    /// The length of its leases; `None` for one that has not joined.
    pub(super) fn lease(&self) -> Option<Duration> {
        self.joined.as_ref().map(|joined| Duration::from_millis(joined.lease_ms))
    }

    /// Joins, and works until the connection ends or the worker is to stop.
    pub(super) async fn run(&mut self, stop: &mut watch::Receiver<WorkerStop>) -> Ended {
        let worked = match self.join().await {
            Ok(()) => self.work(stop).await,
            Err(error) => Err(error),
        };
        match worked {
            Ok(()) => Ended::Stopped,
            // It was to go anyway.
            Err(_) if self.leaves_by.is_some() => Ended::Stopped,
            Err(error) if self.is_refused => Ended::Refused(error),
            Err(error) => Ended::Lost(error),
        }
    }

    async fn join(&mut self) -> Result<()> {
        self.credit = if self.worker.leaves_by.is_some() { 0 } else { self.worker.room() };
        let options = self.worker.options;
        let resumes: Vec<_> = self.worker.leases().take(RESUMES_MAX).collect();
        let request = WorkRequest {
            command: "work",
            version: VERSION,
            worker: &options.name,
            language: &options.language,
            credit: self.credit,
            heartbeats: true,
            functions: &options.functions,
            session: &self.worker.session,
            queues: &options.queues,
            resumes: &resumes,
        };
        write_message(self.connection.output(), &request);
        let joined = timeout(REPLY_TIMEOUT, async {
            while self.joined.is_none() {
                self.step().await?;
            }
            Ok(())
        });
        joined.await.unwrap_or_else(|_| {
            let what = "the server has not replied to a worker that joins".to_owned();
            Err(ClientError::timed_out(self.connection.address(), what))
        })
    }

    /// Works until the worker has gone.
    async fn work(&mut self, stop: &mut watch::Receiver<WorkerStop>) -> Result<()> {
        let mut is_unowned = false;
        loop {
            if self.leaves_by.is_some() && self.worker.held.is_empty() {
                return self.close().await;
            }
            let leaves_by = self.leaves_by.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                changed = stop.changed(), if !is_unowned => {
                    // Nobody is there any more who could stop it.
                    is_unowned = changed.is_err();
                    match *stop.borrow_and_update() {
                        WorkerStop::Now => return Ok(()),
                        WorkerStop::No if !is_unowned => {}
                        WorkerStop::No | WorkerStop::Graceful => self.stop_taking(),
                    }
                }
                () = sleep_until(leaves_by), if self.leaves_by.is_some() => {
                    let running = self.worker.held.len();
                    tracing::warn!(running, "the grace period is over; running tasks go back to the server");
                    return self.close().await;
                }
                _ = self.heartbeats.tick() => self.send_heartbeat(),
                update = self.worker.runner.next() => self.report(update),
                () = sleep(prefetch::LONG), if self.has_prefetched() => self.return_behind_long(),
                step = self.connection.step() => self.stepped(step?).await?,
            }
        }
    }

    async fn step(&mut self) -> Result<()> {
        let step = self.connection.step().await?;
        self.stepped(step).await
    }

    async fn stepped(&mut self, step: Step) -> Result<()> {
        let Step::Read(count) = step else { return Ok(()) };
        let batch = self.connection.messages(count)?;
        let mut tasks = Vec::new();
        for line in MessageBatch::lines(&batch.bytes) {
            let message = ServerMessage::parse(line);
            let message = message.map_err(|_| replies::foreign(self.connection.address(), line))?;
            self.receive(message, line, &mut tasks)?;
        }
        if !tasks.is_empty() {
            self.worker.runner.start(tasks);
        }
        Ok(())
    }

    fn send_heartbeat(&mut self) {
        self.send(&serde_json::json!({ "command": "heartbeat" }));
    }

    fn receive(&mut self, message: ServerMessage, line: &[u8], tasks: &mut Vec<StartedTask>) -> Result<()> {
        match message.status {
            Status::Task => {
                let assigned = message.task(self.worker.handlers);
                let assigned = assigned.ok_or_else(|| replies::foreign(self.connection.address(), line))?;
                let number = self.worker.next_number;
                self.worker.next_number += 1;
                self.credit = self.credit.saturating_sub(1);
                let (lease, task): (Arc<str>, _) = (assigned.lease.into(), assigned.task);
                let held = HeldTask { lease: lease.clone(), task: task.clone() };
                self.worker.held.insert(number, held);
                tasks.push(StartedTask { number, lease, task, attempt: assigned.attempt });
            }
            Status::Cancel => {
                let lease = message.lease.as_ref().map(|lease| &*lease.0);
                let held = self.worker.held.values().find(|held| Some(&*held.lease) == lease);
                held.inspect(|held| held.task.request_cancel());
            }
            Status::Quiet => {
                let why = message.why.map(|why| why.0.into_owned()).unwrap_or_default();
                tracing::info!(why, "the server gives this worker no further tasks");
                // After a reload or a restart the worker comes back.
                if why == "drain" {
                    self.stop_taking();
                }
            }
            Status::Ok if self.joined.is_none() => self.joined(&message, line)?,
            Status::Error => return Err(self.refused(line)),
            Status::Settled => {
                message.id.into_iter().for_each(|id| self.worker.unsettled.confirm(id));
                if !message.stale.is_empty() {
                    let tasks = message.stale.len();
                    tracing::warn!(tasks, "the server had given tasks of this worker to others");
                }
                self.give_credit();
            }
            _ => {}
        }
        Ok(())
    }

    fn joined(&mut self, message: &ServerMessage, line: &[u8]) -> Result<()> {
        let reply = message.result.and_then(|reply| serde_json::from_str::<JoinReply>(reply.get()).ok());
        let reply = reply.ok_or_else(|| replies::foreign(self.connection.address(), line))?;
        let pause = Duration::from_millis(reply.heartbeat_ms.max(1));
        self.heartbeats = interval(pause);
        self.heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let functions = self.worker.options.functions.len();
        let address = self.connection.address();
        tracing::info!(address, functions, credit = self.credit, "a worker of the server");
        if reply.credit_max < self.worker.options.concurrency {
            tracing::warn!("the server gives at most {} tasks at once (max_worker_credit)", reply.credit_max);
        }
        let ends = self.worker.resume(&reply.resumed);
        let resumed = reply.resumed.len();
        if resumed + reply.unknown.len() > 0 {
            let lost = reply.unknown.len();
            tracing::info!(resumed, lost, "the worker goes on with the tasks that it had");
        }
        if let Some((writer, handlers)) = self.worker.writer.take() {
            let message_max = reply.message_max;
            self.worker.runner.observe(Arc::new(AttemptWriter { writer, handlers, message_max }));
        }
        self.joined = Some(reply);
        self.write_ends(ends, 0);
        Ok(())
    }

    /// The error that the server has sent. One about a worker that has joined ends the connection, because
    /// nobody knows which of its messages was refused.
    fn refused(&mut self, line: &[u8]) -> ClientError {
        let Ok(reply) = serde_json::from_slice::<Reply>(line) else {
            return replies::foreign(self.connection.address(), line);
        };
        let refusal = reply.refusal();
        if self.joined.is_none() || is_transient(refusal.code) {
            return ClientError::Refused(refusal);
        }
        self.is_refused = true;
        tracing::error!(code = ?refusal.code, "the server has refused a message of this worker: {refusal}");
        ClientError::closed(self.connection.address())
    }

    /// Takes no further tasks; those that have not begun go back at once.
    fn stop_taking(&mut self) {
        if self.leaves_by.is_some() {
            return;
        }
        let grace = self.worker.options.grace;
        self.leaves_by = Some(self.worker.leaves_by.unwrap_or_else(|| Instant::now() + grace));
        self.send(&serde_json::json!({ "command": "leave" }));
        self.return_waiting();
        let running = self.worker.held.len();
        tracing::info!(running, "this worker takes no further tasks");
    }

    /// Gives back the tasks whose attempts have not begun.
    fn return_waiting(&mut self) {
        let waiting = self.worker.runner.take_waiting();
        let returned: Vec<_> = waiting.iter().filter_map(|number| self.worker.held.remove(number)).collect();
        self.worker.abandoned -= (waiting.len() - returned.len()) as u32;
        let message_max = self.message_max();
        let mut ends = EndsWriter::new(self.connection.output(), self.worker.handlers, message_max, u64::MAX);
        returned.iter().for_each(|held| ends.returned(&held.lease));
        ends.finish(0);
    }

    /// Whether tasks may wait here behind another one.
    fn has_prefetched(&self) -> bool {
        self.worker.prefetch.is_some() && self.worker.held.len() > 1
    }

    /// Gives back what waits behind an attempt that takes long.
    fn return_behind_long(&mut self) {
        let is_long = self.worker.runner.running_for().is_some_and(|time| time >= prefetch::LONG);
        if is_long {
            self.worker.prefetch.iter_mut().for_each(Prefetch::reset);
            self.return_waiting();
        }
    }

    /// Writes reports and ends, with credit for what these make room for.
    fn report(&mut self, update: RunnerUpdate) {
        let output = self.connection.output();
        for (task, report) in &update.reports {
            let held = self.worker.held.values().find(|held| held.task.id == *task);
            if let Some(held) = held.filter(|_| output.len() < OUTPUT_MAX) {
                report.write(output, &held.lease);
            }
        }
        for end in update.observed {
            self.worker.held.remove(&end.number);
            self.worker.prefetch.iter_mut().for_each(|prefetch| prefetch.note(end.ran));
        }
        let ends = self.worker.take_ended(update.ends);
        let more = self.take_credit();
        self.write_ends(ends, more);
    }

    fn write_ends(&mut self, ends: Vec<LeasedEnd>, credit: u32) {
        let message_max = self.message_max();
        let place = (self.connection.output(), self.worker.handlers, message_max);
        self.worker.unsettled.write(ends, credit, place);
    }

    /// Gives credit that was held back while many ends were on their way.
    fn give_credit(&mut self) {
        let more = self.take_credit();
        if more > 0 {
            self.write_ends(Vec::new(), more);
        }
    }

    /// The credit to give for what the worker could start beyond what it has asked for.
    fn take_credit(&mut self) -> u32 {
        let room = if self.leaves_by.is_some() { self.credit } else { self.worker.room() };
        let more = room.saturating_sub(self.credit);
        let more = self.worker.prefetch.as_ref().map_or(more, |prefetch| prefetch.worthwhile(more));
        self.credit += more;
        more
    }

    fn message_max(&self) -> usize {
        self.joined.as_ref().map_or(usize::MAX, |joined| joined.message_max)
    }

    /// Lets the server read all that was sent; it takes back what is still held.
    async fn close(&mut self) -> Result<()> {
        self.connection.close_sending();
        let closed = async {
            loop {
                match self.connection.step().await {
                    Ok(Step::Read(0)) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
        Ok(())
    }

    fn send(&mut self, message: &impl serde::Serialize) {
        write_message(self.connection.output(), message);
    }
}

fn write_message(output: &mut Vec<u8>, message: &impl serde::Serialize) {
    serde_json::to_writer(&mut *output, message)
        .expect("a vector takes every byte, and messages are plain structs");
    output.push(b'\n');
}
