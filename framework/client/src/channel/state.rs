//! What the driver of a line asks of it: what to send next, whom an answer is for, what to do when the connection breaks.

use framework_protocol::Reply;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Channel, ChannelState, Followed, end, watch};
use crate::connection::{Connection, Connector};
use crate::error::{ClientError, Result};
use crate::in_flight::{Effects, RequestStage};

/// About how much leaves in one write.
const BLOCK: usize = 64 * 1024;

/// What a connection is to do next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DriverState {
    pub(crate) unanswered: usize,
    pub(crate) is_leaving: bool,
}

impl Channel {
    /// Waits until there is something to send.
    pub(crate) async fn work(&self) {
        while !self.state().has_work() {
            self.wake.notified().await;
        }
    }

    /// Waits for a sign that there is more to send.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Whether somebody waits.
    pub(crate) fn has_work(&self) -> bool {
        self.state().has_work()
    }

    pub(crate) fn keep_spare(&self, connection: Connection) {
        let mut state = self.state();
        state.at = Some(connection.at);
        state.spare = Some(connection);
    }

    /// Takes a connection that was opened beforehand.
    pub(crate) fn take_spare(&self) -> Option<Connection> {
        self.state().spare.take()
    }

    /// The connection that was opened beforehand is somebody else's now.
    pub(crate) fn forget(&self) {
        self.state().at = None;
    }

    pub(crate) fn connected(&self, at: usize) {
        self.state().at = Some(at);
    }

    /// Appends what is to leave next to `output`; about a block of it.
    pub(crate) fn fill(&self, output: &mut Vec<u8>, connector: &Connector) -> DriverState {
        let mut effects = Effects::default();
        let mut state = self.state();
        let ChannelState { entries, queue, unanswered, is_leaving, at, .. } = &mut *state;
        while output.len() < BLOCK && !*is_leaving {
            let Some(id) = queue.pop_front() else { break };
            let Some(entry) = entries.get_mut(&id).filter(|entry| entry.stage == RequestStage::Queued) else {
                continue;
            };
            if let (Some(home), Some(at)) = (entry.home, *at) {
                if home != at {
                    let (home, address) = (connector.name(home).to_owned(), connector.name(at).to_owned());
                    entry.fail(ClientError::WrongServer { home, address }, &mut effects);
                    continue;
                }
            }
            output.extend_from_slice(&entry.line);
            (entry.stage, entry.has_left) = (RequestStage::Written, true);
            entry.home = entry.home.or(if self.is_pinned && entry.is_of_one_server() { *at } else { None });
            *unanswered += 1;
        }
        let duty = state.duty();
        drop(state);
        self.carry_out(effects);
        duty
    }

    /// Hands out answers.
    ///
    /// # Errors
    /// When one of them is about the connection itself, or about nothing that was asked.
    pub(crate) fn hand_out(&self, answers: Vec<Reply>, address: &str) -> Result<DriverState> {
        let mut effects = Effects::default();
        let mut state = self.state();
        let mut strange = None;
        for answer in answers {
            let Some(id) = answer.id else {
                strange = Some(match answer.code {
                    Some(_) => ClientError::Refused(answer.refusal()),
                    None => ClientError::unexpected_answer(address, &answer),
                });
                break;
            };
            let ChannelState { entries, unanswered, abandoned, is_leaving, .. } = &mut *state;
            let Some(entry) = entries.get_mut(&id) else { continue };
            let before = entry.stage;
            if before == RequestStage::Queued || before == RequestStage::Over {
                continue;
            }
            *is_leaving |= !entry.receive(answer, !self.retry_time.is_zero(), &mut effects);
            *unanswered -=
                usize::from(before == RequestStage::Written && entry.stage != RequestStage::Written);
            if entry.is_abandoned {
                *abandoned += usize::from(entry.stage == RequestStage::Acknowledged);
                *abandoned -= usize::from(before == RequestStage::Acknowledged);
                if matches!(entry.stage, RequestStage::Over | RequestStage::Queued) {
                    entry.release(&mut effects);
                    entries.remove(&id);
                }
            }
        }
        self.close(&mut state);
        let duty = state.duty();
        drop(state);
        self.carry_out(effects);
        strange.map_or(Ok(duty), Err)
    }

    /// The connection is gone: what can be is put in line again.
    pub(crate) fn lose(&self, error: &ClientError) {
        let now = Instant::now();
        let mut effects = Effects::default();
        let mut state = self.state();
        let is_left = state.is_leaving;
        state.entries.retain(|&id, entry| {
            if entry.is_abandoned {
                entry.release(&mut effects);
                return false;
            }
            let has_time = now < entry.since + self.retry_time;
            let retries = !self.retry_time.is_zero() && !error.is_final();
            // Only a wait for an end begins its time anew; it was well until now.
            let again = match entry.stage {
                RequestStage::Acknowledged => retries || is_left,
                _ => retries && has_time,
            };
            entry.lose(error, again, now, &mut effects);
            if let (RequestStage::Queued, true, Some(task)) = (entry.stage, entry.line.is_empty(), entry.task)
            {
                entry.line = watch(id, Followed::Task(task));
            }
            true
        });
        let waiting = state.entries.iter().filter(|(_, entry)| entry.stage == RequestStage::Queued);
        let mut waiting: Vec<_> = waiting.map(|(&id, _)| id).collect();
        waiting.sort_unstable();
        state.queue = waiting.into();
        (state.unanswered, state.abandoned, state.is_leaving, state.at) = (0, 0, false, None);
        drop(state);
        self.carry_out(effects);
    }

    /// Gives up what has waited for long enough, or all of it. Tells whether somebody still waits.
    pub(crate) fn abandon_request(&self, error: &ClientError, all: bool) -> bool {
        let now = Instant::now();
        let mut effects = Effects::default();
        let mut state = self.state();
        let queued = state.entries.values_mut().filter(|entry| entry.stage == RequestStage::Queued);
        for entry in queued.filter(|entry| all || entry.since + self.retry_time <= now) {
            entry.fail(error.clone(), &mut effects);
        }
        let has_work = state.has_work();
        drop(state);
        self.carry_out(effects);
        has_work
    }

    /// When the first of those that wait gives up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        let queued = state.entries.values().filter(|entry| entry.stage == RequestStage::Queued);
        queued.map(|entry| entry.since + self.retry_time).min()
    }

    /// Ends the driver, and with it the connection.
    pub(crate) fn stop(&self) {
        let driver = self.state().driver.take();
        driver.inspect(JoinHandle::abort);
    }

    /// The driver is gone, and with it the connection.
    pub(crate) fn end(&self) {
        self.lose(&end());
        self.abandon_request(&end(), true);
    }
}

impl ChannelState {
    fn duty(&self) -> DriverState {
        DriverState { unanswered: self.unanswered, is_leaving: self.is_leaving }
    }
}
