//! The ends of attempts that the server has not confirmed yet: after a lost connection they are sent again.

use std::collections::VecDeque;

use framework_protocol::task::Handlers;
use framework_protocol::worker::{EndedAttempt, EndsWriter};

use super::HeldTask;

/// An end, and the lease that it is the end of.
pub(super) type LeasedEnd = (HeldTask, EndedAttempt);

/// The ends that are on their way to the server, in their order.
#[derive(Default)]
pub(super) struct UnsettledEnds {
    batches: VecDeque<UnsettledBatch>,
    count: usize,
    next_id: u64,
}

struct UnsettledBatch {
    /// The number of its messages, which the replies to them name.
    id: u64,
    /// The replies that have not come.
    replies: u32,
    ends: Vec<LeasedEnd>,
}

impl UnsettledEnds {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Writes ends and credit for so many tasks more, and keeps the ends until they are confirmed.
    pub(super) fn write(
        &mut self,
        ends: Vec<LeasedEnd>,
        credit: u32,
        (output, handlers, message_max): (&mut Vec<u8>, &Handlers, usize),
    ) {
        let id = self.next_id;
        let mut writer = EndsWriter::new(output, handlers, message_max, id);
        for (held, end) in &ends {
            writer.end(&held.lease, end.outcome.as_ref(), &end.follow);
        }
        let replies = writer.finish(credit);
        if replies > 0 {
            self.next_id += 1;
            self.add(UnsettledBatch { id, replies, ends });
        }
    }

    /// Keeps ends while there is no connection.
    pub(super) fn keep(&mut self, ends: Vec<LeasedEnd>) {
        if !ends.is_empty() {
            self.add(UnsettledBatch { id: u64::MAX, replies: 1, ends });
        }
    }

    fn add(&mut self, batch: UnsettledBatch) {
        self.count += batch.ends.len();
        self.batches.push_back(batch);
    }

    /// Forgets the ends that a reply confirms, once it is the last one to them.
    pub(super) fn confirm(&mut self, id: u64) {
        let Some(place) = self.batches.iter().position(|batch| batch.id == id) else { return };
        let batch = &mut self.batches[place];
        batch.replies -= 1;
        if batch.replies == 0 {
            self.count -= batch.ends.len();
            self.batches.remove(place);
        }
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = &str> {
        self.batches.iter().flat_map(|batch| &batch.ends).map(|(held, _)| &*held.lease)
    }

    /// Takes all ends out, in their order.
    pub(super) fn take_all(&mut self) -> Vec<LeasedEnd> {
        self.count = 0;
        self.batches.drain(..).flat_map(|batch| batch.ends).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use framework_protocol::task::{NewTask, Outcome, TaskRecord};

    use super::*;

    fn end(number: u64, length: usize) -> LeasedEnd {
        let new = NewTask::without_handler("any", "null".into());
        let task = Arc::new(TaskRecord::new(number, new, Instant::now(), 0));
        let outcome = Some(Outcome::Done(format!("\"{}\"", "x".repeat(length)).into()));
        let held = HeldTask { lease: format!("1.{number}").into(), task };
        (held, EndedAttempt { number, outcome, follow: Vec::new() })
    }

    fn written(unsettled: &mut UnsettledEnds, ends: Vec<LeasedEnd>) -> usize {
        let (mut output, handlers) = (Vec::new(), Handlers::default());
        unsettled.write(ends, 1, (&mut output, &handlers, 1_000));
        String::from_utf8(output).unwrap().lines().count()
    }

    #[test]
    fn confirm_forgets_ends_once_all_messages_with_them_are_answered() {
        let mut unsettled = UnsettledEnds::default();
        assert_eq!(written(&mut unsettled, vec![end(1, 1)]), 1);
        assert_eq!(written(&mut unsettled, vec![end(2, 600), end(3, 600)]), 2, "it takes two messages");
        unsettled.confirm(1);
        assert_eq!(unsettled.leases().collect::<Vec<_>>(), ["1.1", "1.2", "1.3"]);
        unsettled.confirm(1);
        unsettled.confirm(7);
        assert_eq!((unsettled.leases().collect::<Vec<_>>(), unsettled.len()), (vec!["1.1"], 1));
        unsettled.keep(vec![end(4, 1)]);
        let numbers: Vec<_> = unsettled.take_all().iter().map(|(_, end)| end.number).collect();
        assert_eq!((numbers, unsettled.len()), (vec![1, 4], 0));
    }

    #[test]
    fn credit_alone_is_not_waited_for() {
        let mut unsettled = UnsettledEnds::default();
        assert_eq!((written(&mut unsettled, Vec::new()), unsettled.batches.len()), (1, 0));
    }
}
