//! The subscribers of all tasks: they receive every progress and every end as far as they keep up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use framework_protocol::{ReplyWriter, RequestError};

use crate::server::outbox::{Outbox, ReplyOrder};

/// The subscribers of all tasks.
#[derive(Default)]
pub(super) struct FirehoseSubscribers {
    /// The number of subscribers; tells without a lock that there are none, as most of the time.
    count: AtomicUsize,
    subscribers: Mutex<Vec<FirehoseSubscriber>>,
}

struct FirehoseSubscriber {
    outbox: Arc<Outbox>,
    /// The number of lines dropped since the last one that was sent.
    missed: u64,
}

impl FirehoseSubscribers {
    fn subscribers(&self) -> MutexGuard<'_, Vec<FirehoseSubscriber>> {
        self.subscribers.lock().expect("no panic while the subscribers are locked")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Adds a connection, with one reply reserved for the error that ends the subscription.
    pub(super) fn add(&self, outbox: &Arc<Outbox>) {
        outbox.reserve(1);
        let mut subscribers = self.subscribers();
        subscribers.push(FirehoseSubscriber { outbox: outbox.clone(), missed: 0 });
        self.count.store(subscribers.len(), Ordering::SeqCst);
    }

    pub(super) fn remove_connection(&self, outbox: &Arc<Outbox>) {
        if self.is_empty() {
            return;
        }
        let mut subscribers = self.subscribers();
        subscribers.retain(|subscriber| !Arc::ptr_eq(&subscriber.outbox, outbox));
        self.count.store(subscribers.len(), Ordering::SeqCst);
    }

    /// Sends lines to all subscribers.
    pub(super) fn publish(&self, lines: &[Vec<u8>]) {
        for subscriber in &mut *self.subscribers() {
            lines.iter().for_each(|line| subscriber.send(line));
        }
    }

    /// Sends an error to all subscribers, and removes them.
    pub(super) fn close_all(&self, error: &RequestError) {
        let subscribers = std::mem::take(&mut *self.subscribers());
        self.count.store(0, Ordering::SeqCst);
        let mut line = Vec::new();
        ReplyWriter::new(&mut line).refused(None, error);
        for subscriber in subscribers {
            subscriber.outbox.fulfil(std::iter::once((ReplyOrder::Anywhere, &line[..])));
        }
    }
}

impl FirehoseSubscriber {
    fn send(&mut self, line: &[u8]) {
        if self.missed == 0 {
            self.missed += u64::from(!self.outbox.try_send(line));
            return;
        }
        let mut lines = Vec::new();
        ReplyWriter::new(&mut lines).missed(self.missed);
        lines.extend_from_slice(line);
        if self.outbox.try_send(&lines) {
            self.missed = 0;
        } else {
            self.missed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(outbox: &Outbox) -> String {
        let mut output = Vec::new();
        outbox.collect(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn slow_subscriber_receives_the_number_of_missed_lines() {
        let firehose = FirehoseSubscribers::default();
        let (slow, quick) = (Arc::new(Outbox::new(200)), Arc::new(Outbox::new(20_000)));
        firehose.add(&slow);
        firehose.add(&quick);
        let line = |number: u8| format!("{{\"task_id\":{number},\"status\":\"done\",\"result\":null}}\n");
        let publish = |number| firehose.publish(&[line(number).into_bytes()]);
        (0..10).for_each(publish);
        assert_eq!(read(&slow), line(0) + &line(1), "half of the limit");
        assert_eq!(read(&quick), (0..10).map(line).collect::<String>());
        publish(10);
        assert_eq!(read(&slow), format!("{{\"status\":\"missed\",\"count\":8}}\n{}", line(10)));
        publish(11);
        assert_eq!(read(&slow), line(11), "the number of missed lines is sent once");
    }

    #[test]
    fn subscriber_is_removed_with_its_connection_or_closed_with_an_error() {
        let firehose = FirehoseSubscribers::default();
        let (left, stayed) = (Arc::new(Outbox::new(1024)), Arc::new(Outbox::new(1024)));
        firehose.add(&left);
        firehose.add(&stayed);
        firehose.remove_connection(&left);
        firehose.close_all(&RequestError::new(framework_protocol::ErrorCode::ShuttingDown, "The end."));
        assert!(firehose.is_empty());
        assert_eq!(read(&left), "");
        assert!(read(&stayed).contains("shutting_down"));
        assert!(stayed.is_settled(), "nothing more is reserved");
    }
}
