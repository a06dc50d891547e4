//! Replies on their way to a connection, in the order of its requests where order matters.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;

use framework_protocol::{Framing, ReplyWriter, RequestError};
use futures_util::task::AtomicWaker;

/// The replies of one connection on their way out; filled from anywhere, emptied by its session.
///
/// A reply without an order goes out at once. One that has to keep its place among others gets a [`Slot`]
/// when its request is read, and goes out when it is complete and all slots before it are.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// The connection ends when more bytes than these wait for a peer that does not read them.
    limit: usize,
    state: Mutex<State>,
    /// The connection is that of a worker, which may be silent while it works.
    is_worker: AtomicBool,
    changed: AtomicBool,
    session: AtomicWaker,
}

/// A place among the ordered replies of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u64);

/// The place of a reply that is sent later.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReplyOrder {
    /// Any: the reply names its request by an `id`.
    Anywhere,
    /// The reply is the whole of this slot.
    Within(Slot),
    /// The reply comes after this slot.
    After(Slot),
}

#[derive(Debug, Default)]
struct State {
    framing: Framing,
    ready: Vec<u8>,
    slots: VecDeque<SlotState>,
    first: u64,
    /// Reservations that are neither fulfilled nor cancelled.
    awaited: usize,
    end: OutboxState,
}

#[derive(Debug, Default)]
struct SlotState {
    bytes: Vec<u8>,
    after: Vec<u8>,
    complete: bool,
}

/// The state of the connection, as far as replies are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum OutboxState {
    #[default]
    Open,
    /// The session has ended; replies are dropped.
    Gone,
    /// More waits than the limit allows; the session is to end.
    Overflowed,
}

impl Outbox {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
            is_worker: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            session: AtomicWaker::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding the outbox")
    }

    /// Notes whether the connection is that of a worker: it stays open and is read although nothing comes for
    /// long, also during a shutdown.
    pub(super) fn set_worker(&self, is_worker: bool) {
        self.is_worker.store(is_worker, Ordering::Release);
    }

    pub(super) fn is_worker(&self) -> bool {
        self.is_worker.load(Ordering::Acquire)
    }

    /// The most bytes that may wait for the peer.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// True while a further reply without a slot would overtake one that has a slot.
    pub(super) fn is_ordered(&self) -> bool {
        !self.state().slots.is_empty()
    }

    /// Opens a slot after all others.
    pub(super) fn open_slot(&self) -> Slot {
        let mut state = self.state();
        state.slots.push_back(SlotState::default());
        Slot(state.first + state.slots.len() as u64 - 1)
    }

    /// Adds lines of the session itself, without waking it.
    pub(super) fn append(&self, lines: &[u8]) {
        let state = &mut *self.state();
        state.framing.write_lines(lines, &mut state.ready);
    }

    /// Wakes the session, after an [`Outbox::append`] from elsewhere.
    pub(super) fn wake(&self) {
        self.changed.store(true, Ordering::Release);
        self.session.wake();
    }

    /// Adds lines to a slot, or without one to what goes out next.
    pub(super) fn write(&self, slot: Option<Slot>, lines: &[u8]) {
        self.add(slot, |framing, bytes| framing.write_lines(lines, bytes));
    }

    /// Adds one message, as [`Outbox::write`] does, also if its text has several lines.
    pub(super) fn send_text(&self, slot: Option<Slot>, text: &str) {
        self.add(slot, |framing, bytes| framing.write_text(text, bytes));
    }

    fn add(&self, slot: Option<Slot>, write: impl FnOnce(Framing, &mut Vec<u8>)) {
        let mut state = self.state();
        let framing = state.framing;
        match slot.and_then(|slot| state.slot(slot)) {
            Some((false, slot)) => write(framing, &mut slot.bytes),
            Some((true, _)) | None => write(framing, &mut state.ready),
        }
        self.notify(state);
    }

    /// Switches to frames: four bytes of length, then the message without a line end.
    pub(super) fn frame(&self) {
        let state = &mut *self.state();
        if state.framing == Framing::Lines {
            state.framing = Framing::Frames;
            let lines = std::mem::take(&mut state.ready);
            Framing::Frames.write_lines(&lines, &mut state.ready);
        }
    }

    /// Appends an error that belongs to no request.
    pub(super) fn refuse(&self, refusal: &RequestError) {
        let mut line = Vec::new();
        ReplyWriter::new(&mut line).refused(None, refusal);
        self.append(&line);
    }

    /// Adds lines that may be missed: they are dropped when half of the limit waits already. Returns whether
    /// they were added.
    pub(super) fn try_send(&self, lines: &[u8]) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let fits = state.len() + lines.len() <= self.limit / 2;
        if fits {
            state.framing.write_lines(lines, &mut state.ready);
            self.notify(guard);
        }
        fits
    }

    /// Completes a slot; it and those after it go out as far as the order allows.
    pub(super) fn close_slot(&self, slot: Slot, lines: &[u8]) {
        let mut state = self.state();
        state.complete(slot, lines);
        self.notify(state);
    }

    /// Reserves that many replies, each for [`Outbox::fulfil`] or [`Outbox::cancel_reservation`].
    pub(super) fn reserve(&self, count: usize) {
        self.state().awaited += count;
    }

    /// Cancels the reservation of a reply that will not come.
    pub(super) fn cancel_reservation(&self) {
        self.state().awaited -= 1;
    }

    /// Adds reserved replies, many at a time.
    pub(super) fn fulfil<'a>(&self, replies: impl Iterator<Item = (ReplyOrder, &'a [u8])>) {
        let mut state = self.state();
        let framing = state.framing;
        for (place, lines) in replies {
            state.awaited = state.awaited.saturating_sub(1);
            match place {
                ReplyOrder::Anywhere => framing.write_lines(lines, &mut state.ready),
                ReplyOrder::Within(slot) => state.complete(slot, lines),
                ReplyOrder::After(slot) => match state.slot(slot) {
                    Some((_, slot)) => framing.write_lines(lines, &mut slot.after),
                    None => framing.write_lines(lines, &mut state.ready),
                },
            }
        }
        self.notify(state);
    }

    /// Moves what can go out to the end of `output`.
    pub(super) fn collect(&self, output: &mut Vec<u8>) -> OutboxState {
        let mut state = self.state();
        if output.is_empty() {
            std::mem::swap(output, &mut state.ready);
        } else {
            output.append(&mut state.ready);
        }
        state.end
    }

    /// Waits until something was added from outside the session.
    pub(super) async fn changed(&self) {
        poll_fn(|context| {
            self.session.register(context.waker());
            // Read after registering: a change from now on wakes the session.
            if self.changed.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The bytes that wait here, and the reservations.
    pub(super) fn load(&self) -> (usize, usize) {
        let state = self.state();
        (state.len(), state.awaited)
    }

    /// True when nothing waits here and nothing is reserved.
    pub(super) fn is_settled(&self) -> bool {
        let state = self.state();
        state.ready.is_empty() && state.slots.is_empty() && state.awaited == 0
    }

    /// True until the session has ended, or is to end because its client does not read.
    pub(super) fn is_open(&self) -> bool {
        self.state().end == OutboxState::Open
    }

    /// Drops everything from now on: the session has ended.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        *state = State { end: OutboxState::Gone, first: u64::MAX, ..State::default() };
    }

    fn notify(&self, mut state: MutexGuard<State>) {
        match state.end {
            OutboxState::Open if state.len() > self.limit => state.end = OutboxState::Overflowed,
            OutboxState::Open => {}
            OutboxState::Gone | OutboxState::Overflowed => state.ready.clear(),
        }
        drop(state);
        self.wake();
    }
}

impl State {
    /// A slot that has not gone out yet, and whether it is the first; the first goes out before it is
    /// complete.
    fn slot(&mut self, slot: Slot) -> Option<(bool, &mut SlotState)> {
        let index = usize::try_from(slot.0.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index).map(|slot| (index == 0, slot))
    }

    fn complete(&mut self, slot: Slot, lines: &[u8]) {
        let framing = self.framing;
        let Some((_, state)) = self.slot(slot) else { return };
        framing.write_lines(lines, &mut state.bytes);
        state.complete = true;
        while self.slots.front().is_some_and(|slot| slot.complete) {
            let Some(mut slot) = self.slots.pop_front() else { return };
            self.first += 1;
            self.ready.append(&mut slot.bytes);
            self.ready.append(&mut slot.after);
        }
        if let Some(first) = self.slots.front_mut() {
            self.ready.append(&mut first.bytes);
        }
    }

    fn len(&self) -> usize {
        self.ready.len() + self.slots.iter().map(|slot| slot.bytes.len() + slot.after.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(outbox: &Outbox) -> String {
        let mut output = Vec::new();
        outbox.collect(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn slots_go_out_in_their_order() {
        let outbox = Outbox::new(1024);
        let (first, second) = (outbox.open_slot(), outbox.open_slot());
        outbox.write(Some(second), b"c");
        outbox.close_slot(second, b"d");
        outbox.write(Some(first), b"a");
        assert_eq!(sent(&outbox), "a", "the first slot need not wait for its end");
        outbox.close_slot(first, b"b");
        assert_eq!(sent(&outbox), "bcd");
        assert!(outbox.is_settled());
    }

    #[test]
    fn fulfil_after_a_slot_does_not_overtake_it() {
        let outbox = Outbox::new(1024);
        outbox.reserve(1);
        let slot = outbox.open_slot();
        outbox.fulfil([(ReplyOrder::After(slot), &b"done"[..])].into_iter());
        assert_eq!(sent(&outbox), "");
        outbox.close_slot(slot, b"queued ");
        assert_eq!(sent(&outbox), "queued done");
    }

    #[test]
    fn write_to_a_slot_that_is_gone_still_goes_out() {
        let outbox = Outbox::new(1024);
        let slot = outbox.open_slot();
        outbox.close_slot(slot, b"a");
        outbox.write(Some(slot), b"b");
        assert_eq!(sent(&outbox), "ab");
    }

    #[test]
    fn try_send_leaves_room_for_what_may_not_be_missed() {
        let outbox = Outbox::new(8);
        outbox.try_send(b"abc");
        outbox.try_send(b"de");
        outbox.write(None, b"end");
        assert_eq!(sent(&outbox), "abcend");
    }

    #[test]
    fn write_beyond_the_limit_overflows() {
        let outbox = Outbox::new(4);
        outbox.write(None, b"12345");
        assert_eq!(outbox.collect(&mut Vec::new()), OutboxState::Overflowed);
        outbox.abandon();
        outbox.write(None, b"x");
        assert_eq!(sent(&outbox), "");
    }
}
