//! What a connection is still to be sent, in the order of its requests where order matters.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::Poll;

use framework_protocol::{FrameDecoder, MessageBatch, ReplyWriter, RequestError};
use futures_util::task::AtomicWaker;

/// The answers of one connection on their way out; filled from anywhere, emptied by its session.
///
/// An answer without an order goes out at once. One that has to keep its place among others gets a [`Slot`]
/// when its request is read, and goes out when it is complete and all slots before it are.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// More bytes than this held for a peer that does not read them end the connection.
    limit: usize,
    state: Mutex<State>,
    changed: AtomicBool,
    session: AtomicWaker,
}

/// A place among the ordered answers of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u64);

/// How an answer that comes later keeps its place.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReplyOrder {
    /// It says itself which request it belongs to.
    Anywhere,
    /// It is the whole of this slot.
    Within(Slot),
    /// It must not overtake this slot.
    After(Slot),
}

#[derive(Debug, Default)]
struct State {
    framing: Framing,
    ready: Vec<u8>,
    slots: VecDeque<SlotState>,
    first: u64,
    /// Answers that somebody has promised and not yet given.
    awaited: usize,
    end: OutboxState,
}

/// How messages are told apart on their way out. Inside, all of them are lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Framing {
    #[default]
    Lines,
    Frames,
}

impl Framing {
    fn write(self, lines: &[u8], bytes: &mut Vec<u8>) {
        match self {
            Self::Lines => bytes.extend_from_slice(lines),
            Self::Frames => MessageBatch::lines(lines).for_each(|line| self.one(line, bytes)),
        }
    }

    fn one(self, message: &[u8], bytes: &mut Vec<u8>) {
        if !FrameDecoder::write(message, bytes) {
            tracing::warn!("an answer of {} bytes is too long for a frame and is dropped", message.len());
        }
    }
}

#[derive(Debug, Default)]
struct SlotState {
    bytes: Vec<u8>,
    after: Vec<u8>,
    complete: bool,
}

/// Whether the connection still takes answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum OutboxState {
    #[default]
    Open,
    /// The session is gone; answers are dropped.
    Gone,
    /// The peer does not read; the session is to end.
    Overflowed,
}

impl Outbox {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), changed: AtomicBool::new(false), session: AtomicWaker::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics while holding the outbox")
    }

    /// Whether a further answer without a slot would overtake one that has a slot.
    pub(super) fn is_ordered(&self) -> bool {
        !self.state().slots.is_empty()
    }

    /// Reserves the next place.
    pub(super) fn open_slot(&self) -> Slot {
        let mut state = self.state();
        state.slots.push_back(SlotState::default());
        Slot(state.first + state.slots.len() as u64 - 1)
    }

    /// Adds bytes of the session itself, which sends them in its own time.
    pub(super) fn append(&self, lines: &[u8]) {
        let state = &mut *self.state();
        state.framing.write(lines, &mut state.ready);
    }

    /// Wakes whoever waits for [`Outbox::changed`], after what was appended.
    pub(super) fn wake(&self) {
        self.changed.store(true, Ordering::Release);
        self.session.wake();
    }

    /// Adds lines to a slot, or without one to what goes out next.
    pub(super) fn write(&self, slot: Option<Slot>, lines: &[u8]) {
        self.add(slot, |framing, bytes| framing.write(lines, bytes));
    }

    /// Adds one message, as [`Outbox::write`] does, also if its text has several lines.
    pub(super) fn send_text(&self, slot: Option<Slot>, text: &str) {
        self.add(slot, |framing, bytes| match framing {
            Framing::Lines => {
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(b'\n');
            }
            Framing::Frames => framing.one(text.as_bytes(), bytes),
        });
    }

    fn add(&self, slot: Option<Slot>, write: impl FnOnce(Framing, &mut Vec<u8>)) {
        let mut state = self.state();
        let framing = state.framing;
        match slot.and_then(|slot| state.held(slot)) {
            Some((false, held)) => write(framing, &mut held.bytes),
            Some((true, _)) | None => write(framing, &mut state.ready),
        }
        self.notify(state);
    }

    /// From now on each message is a frame of its own: four bytes of length, and the message without a line end.
    pub(super) fn frame(&self) {
        let state = &mut *self.state();
        if state.framing == Framing::Lines {
            state.framing = Framing::Frames;
            let lines = std::mem::take(&mut state.ready);
            Framing::Frames.write(&lines, &mut state.ready);
        }
    }

    /// Adds the reason why the session goes no further.
    pub(super) fn refuse(&self, refusal: &RequestError) {
        let mut line = Vec::new();
        ReplyWriter::new(&mut line).refused(None, refusal);
        self.append(&line);
    }

    /// Adds bytes that may be missed: they are dropped when the peer has half of the limit to read already. Tells
    /// whether they were added.
    pub(super) fn try_send(&self, lines: &[u8]) -> bool {
        let mut guard = self.state();
        let state = &mut *guard;
        let fits = state.len() + lines.len() <= self.limit / 2;
        if fits {
            state.framing.write(lines, &mut state.ready);
            self.notify(guard);
        }
        fits
    }

    /// Ends a slot; what it and its successors hold goes out as far as the order allows.
    pub(super) fn close_slot(&self, slot: Slot, lines: &[u8]) {
        let mut state = self.state();
        state.complete(slot, lines);
        self.notify(state);
    }

    /// Promises that many answers, which [`Outbox::answer`] gives.
    pub(super) fn reserve(&self, count: usize) {
        self.state().awaited += count;
    }

    /// Takes back a promise whose task was refused.
    pub(super) fn cancel_reservation(&self) {
        self.state().awaited -= 1;
    }

    /// Gives promised answers, many at a time.
    pub(super) fn fulfil<'a>(&self, answers: impl Iterator<Item = (ReplyOrder, &'a [u8])>) {
        let mut state = self.state();
        let framing = state.framing;
        for (place, lines) in answers {
            state.awaited = state.awaited.saturating_sub(1);
            match place {
                ReplyOrder::Anywhere => framing.write(lines, &mut state.ready),
                ReplyOrder::Within(slot) => state.complete(slot, lines),
                ReplyOrder::After(slot) => match state.held(slot) {
                    Some((_, held)) => framing.write(lines, &mut held.after),
                    None => framing.write(lines, &mut state.ready),
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

    /// Waits until somebody other than the session added something.
    pub(super) async fn changed(&self) {
        poll_fn(|context| {
            self.session.register(context.waker());
            // Read after registering: a change from now on wakes the session.
            match self.changed.swap(false, Ordering::AcqRel) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// How many bytes are held here, and how many answers are promised.
    pub(super) fn load(&self) -> (usize, usize) {
        let state = self.state();
        (state.len(), state.awaited)
    }

    /// Whether nothing is held and nothing promised.
    pub(super) fn is_settled(&self) -> bool {
        let state = self.state();
        state.ready.is_empty() && state.slots.is_empty() && state.awaited == 0
    }

    /// The session ends: whatever comes from now on has nobody to go to.
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
    /// A slot that has not gone out yet, and whether it is the first.
    fn held(&mut self, slot: Slot) -> Option<(bool, &mut SlotState)> {
        let index = usize::try_from(slot.0.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(index).map(|held| (index == 0, held))
    }

    fn complete(&mut self, slot: Slot, lines: &[u8]) {
        let framing = self.framing;
        let Some((_, held)) = self.held(slot) else { return };
        framing.write(lines, &mut held.bytes);
        held.complete = true;
        while self.slots.front().is_some_and(|held| held.complete) {
            let Some(mut held) = self.slots.pop_front() else { return };
            self.first += 1;
            self.ready.append(&mut held.bytes);
            self.ready.append(&mut held.after);
        }
        if let Some(first) = self.slots.front_mut() {
            self.ready.append(&mut first.bytes);
        }
    }

    fn len(&self) -> usize {
        self.ready.len() + self.slots.iter().map(|held| held.bytes.len() + held.after.len()).sum::<usize>()
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
    fn slots_go_out_in_the_order_they_were_opened() {
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
    fn a_result_never_overtakes_its_own_acknowledgement() {
        let outbox = Outbox::new(1024);
        outbox.reserve(1);
        let slot = outbox.open_slot();
        outbox.fulfil([(ReplyOrder::After(slot), &b"done"[..])].into_iter());
        assert_eq!(sent(&outbox), "");
        outbox.close_slot(slot, b"queued ");
        assert_eq!(sent(&outbox), "queued done");
    }

    #[test]
    fn a_late_write_to_a_slot_that_is_gone_still_goes_out() {
        let outbox = Outbox::new(1024);
        let slot = outbox.open_slot();
        outbox.close_slot(slot, b"a");
        outbox.write(Some(slot), b"b");
        assert_eq!(sent(&outbox), "ab");
    }

    #[test]
    fn what_may_be_missed_leaves_room_for_what_may_not() {
        let outbox = Outbox::new(8);
        outbox.try_send(b"abc");
        outbox.try_send(b"de");
        outbox.write(None, b"end");
        assert_eq!(sent(&outbox), "abcend");
    }

    #[test]
    fn more_than_the_limit_ends_the_connection() {
        let outbox = Outbox::new(4);
        outbox.write(None, b"12345");
        assert_eq!(outbox.collect(&mut Vec::new()), OutboxState::Overflowed);
        outbox.abandon();
        outbox.write(None, b"x");
        assert_eq!(sent(&outbox), "");
    }
}
