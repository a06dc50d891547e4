//! The requests of a channel as data: which one to send next, which one a reply is for, and what becomes of
//! each when the connection breaks.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use framework_protocol::Reply;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::in_flight::{ChannelEvent, Effects, InFlight, OutgoingRequest, RequestStage};
use crate::connection::BLOCK;
use crate::error::{ClientError, Result};

/// The requests of a channel. They outlive its connections: the next connection goes on with what a broken
/// one left.
pub(super) struct ChannelState {
    requests: FxHashMap<u64, InFlight>,
    /// The ids of the requests to send next; may name requests that are gone.
    queue: VecDeque<u64>,
    /// Requests that are written and without a first reply.
    unanswered: usize,
    /// Requests that were dropped by their callers, but whose end the server still owes.
    abandoned: usize,
    max_abandoned: usize,
    retry_time: Duration,
    /// Whether a request that a server may have read is for that server alone.
    is_pinned: bool,
    /// Whether the connection takes nothing more and ends when no reply is owed.
    is_closing: bool,
    /// The index of the address that the connection leads to.
    pub(super) at: Option<usize>,
}

/// The state of a channel as its driver needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct DriverState {
    pub(super) unanswered: usize,
    pub(super) is_closing: bool,
}

impl ChannelState {
    pub(super) fn new(retry_time: Duration, max_abandoned: usize, is_pinned: bool) -> Self {
        Self {
            requests: FxHashMap::default(),
            queue: VecDeque::new(),
            unanswered: 0,
            abandoned: 0,
            max_abandoned,
            retry_time,
            is_pinned,
            is_closing: false,
            at: None,
        }
    }

    /// The number of requests.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn push(&mut self, request: OutgoingRequest) {
        self.queue.push_back(request.id);
        self.requests.insert(request.id, InFlight::new(request));
    }

    /// The next event of a request; `None` when nothing more comes.
    pub(super) fn poll_next(&mut self, id: u64, context: &Context) -> Poll<Option<ChannelEvent>> {
        self.requests.get_mut(&id).map_or(Poll::Ready(None), |request| request.poll_next(context))
    }

    /// The index of the only address that may be asked about this request's task.
    pub(super) fn pinned_address(&self, id: u64) -> Option<usize> {
        self.requests.get(&id).and_then(|request| request.pinned_address)
    }

    /// Drops a request that its caller does not wait for any more. `true`: the connection is to be closed.
    pub(super) fn abandon(&mut self, id: u64, effects: &mut Effects) -> bool {
        let Some(request) = self.requests.get_mut(&id) else { return false };
        match request.stage {
            RequestStage::Queued | RequestStage::Finished => {
                request.release(effects);
                self.requests.remove(&id);
            }
            // The server owes a reply still, and so the permits stay taken.
            RequestStage::Written => request.abandon(),
            RequestStage::Acknowledged => {
                request.abandon();
                self.abandoned += 1;
            }
        }
        self.close_if_cluttered()
    }

    /// Closes a connection on which the server owes too many ends that nobody waits for: only that relieves
    /// the server of them, too.
    fn close_if_cluttered(&mut self) -> bool {
        let closes = self.abandoned > self.max_abandoned && !self.is_closing;
        self.is_closing |= closes;
        closes
    }

    /// Whether there is anything to send.
    pub(super) fn has_work(&mut self) -> bool {
        let is_queued =
            |id: &u64| self.requests.get(id).is_some_and(|request| request.stage == RequestStage::Queued);
        while self.queue.front().is_some_and(|id| !is_queued(id)) {
            self.queue.pop_front();
        }
        !self.queue.is_empty()
    }

    /// Appends the requests that leave next to `output`; about a block of them. `addresses`: as errors name
    /// them.
    pub(super) fn fill(
        &mut self,
        output: &mut Vec<u8>,
        addresses: &[String],
        effects: &mut Effects,
    ) -> DriverState {
        while output.len() < BLOCK && !self.is_closing {
            let Some(id) = self.queue.pop_front() else { break };
            let Some(request) = self.requests.get_mut(&id) else { continue };
            if request.stage != RequestStage::Queued {
                continue;
            }
            match (request.pinned_address, self.at) {
                (Some(home), Some(at)) if home != at => {
                    let (home, address) = (addresses[home].clone(), addresses[at].clone());
                    request.fail(ClientError::WrongServer { home, address }, effects);
                }
                _ => {
                    request.write(output, self.at, self.is_pinned);
                    self.unanswered += 1;
                }
            }
        }
        self.driver_state()
    }

    /// Hands each reply to its request.
    ///
    /// # Errors
    /// When one of them is about the connection itself, or about nothing that was requested.
    pub(super) fn dispatch(
        &mut self,
        replies: Vec<Reply>,
        address: &str,
        effects: &mut Effects,
    ) -> Result<DriverState> {
        for reply in replies {
            match (reply.id, reply.code) {
                (Some(id), _) => self.receive(id, reply, effects),
                (None, Some(_)) => return Err(ClientError::Refused(reply.refusal())),
                (None, None) => return Err(ClientError::unexpected_reply(address, &reply)),
            }
        }
        self.close_if_cluttered();
        Ok(self.driver_state())
    }

    fn receive(&mut self, id: u64, reply: Reply, effects: &mut Effects) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let before = request.stage;
        if matches!(before, RequestStage::Queued | RequestStage::Finished) {
            return;
        }
        self.is_closing |= !request.receive(reply, !self.retry_time.is_zero(), effects);
        let after = request.stage;
        self.unanswered -= usize::from(before == RequestStage::Written && after != RequestStage::Written);
        if request.is_abandoned {
            self.abandoned += usize::from(after == RequestStage::Acknowledged);
            self.abandoned -= usize::from(before == RequestStage::Acknowledged);
            if matches!(after, RequestStage::Queued | RequestStage::Finished) {
                request.release(effects);
                self.requests.remove(&id);
            }
        }
    }

    /// Queues the requests again that can be repeated, and fails the others, because the connection is lost.
    pub(super) fn disconnect(&mut self, error: &ClientError, effects: &mut Effects) {
        let now = Instant::now();
        let retries = !self.retry_time.is_zero() && !error.is_final();
        self.requests.retain(|&id, request| {
            if request.is_abandoned {
                request.release(effects);
                return false;
            }
            // A wait for an end was served well until now: its retry time begins anew.
            let retries = match request.stage {
                RequestStage::Acknowledged => retries || self.is_closing,
                _ => retries && now < request.since + self.retry_time,
            };
            request.disconnect(id, error, retries, now, effects);
            true
        });
        let mut waiting: Vec<_> = self.queued().map(|(&id, _)| id).collect();
        waiting.sort_unstable();
        self.queue = waiting.into();
        (self.unanswered, self.abandoned, self.is_closing, self.at) = (0, 0, false, None);
    }

    /// Fails the queued requests that have waited for `retry_time`, or all of them. `true`: others still
    /// wait.
    pub(super) fn fail_queued(&mut self, error: &ClientError, all: bool, effects: &mut Effects) -> bool {
        let now = Instant::now();
        for request in self.requests.values_mut() {
            let is_late = all || request.since + self.retry_time <= now;
            if request.stage == RequestStage::Queued && is_late {
                request.fail(error.clone(), effects);
            }
        }
        self.has_work()
    }

    /// The time at which the first of the queued requests gives up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queued().map(|(_, request)| request.since + self.retry_time).min()
    }

    fn queued(&self) -> impl Iterator<Item = (&u64, &InFlight)> {
        self.requests.iter().filter(|(_, request)| request.stage == RequestStage::Queued)
    }

    fn driver_state(&self) -> DriverState {
        DriverState { unanswered: self.unanswered, is_closing: self.is_closing }
    }
}

#[cfg(test)]
mod tests;
