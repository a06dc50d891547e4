//! Those who follow all tasks: they hear of every progress and every end, as fast as they read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use framework_protocol::{ReplyWriter, RequestError};

use crate::server::outbox::{Outbox, ReplyOrder};

/// The clients that follow all tasks.
#[derive(Default)]
pub(super) struct FirehoseSubscribers {
    /// How many there are, for the many moments when there are none.
    count: AtomicUsize,
    listeners: Mutex<Vec<FirehoseSubscriber>>,
}

struct FirehoseSubscriber {
    outbox: Arc<Outbox>,
    /// How many lines have come since it was last fast enough.
    missed: u64,
}

impl FirehoseSubscribers {
    fn listeners(&self) -> MutexGuard<'_, Vec<FirehoseSubscriber>> {
        self.listeners.lock().expect("no one panics while holding the gallery")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Lets a client in; it is promised one answer, for the day when nothing more will come.
    pub(super) fn add(&self, outbox: &Arc<Outbox>) {
        outbox.reserve(1);
        let mut listeners = self.listeners();
        listeners.push(FirehoseSubscriber { outbox: outbox.clone(), missed: 0 });
        self.count.store(listeners.len(), Ordering::SeqCst);
    }

    pub(super) fn remove_connection(&self, outbox: &Arc<Outbox>) {
        if self.is_empty() {
            return;
        }
        let mut listeners = self.listeners();
        listeners.retain(|listener| !Arc::ptr_eq(&listener.outbox, outbox));
        self.count.store(listeners.len(), Ordering::SeqCst);
    }

    /// Tells all of them one line after the other.
    pub(super) fn publish(&self, lines: &[Vec<u8>]) {
        for listener in &mut *self.listeners() {
            lines.iter().for_each(|line| listener.send(line));
        }
    }

    /// Tells them that nothing more will come.
    pub(super) fn close_all(&self, refusal: &RequestError) {
        let listeners = std::mem::take(&mut *self.listeners());
        self.count.store(0, Ordering::SeqCst);
        let mut line = Vec::new();
        ReplyWriter::new(&mut line).refused(None, refusal);
        for listener in listeners {
            listener.outbox.fulfil(std::iter::once((ReplyOrder::Anywhere, &line[..])));
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
        match self.outbox.try_send(&lines) {
            true => self.missed = 0,
            false => self.missed += 1,
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
    fn a_slow_listener_misses_lines_and_is_told_how_many() {
        let firehose = FirehoseSubscribers::default();
        let (slow, quick) = (Arc::new(Outbox::new(200)), Arc::new(Outbox::new(20_000)));
        firehose.add(&slow);
        firehose.add(&quick);
        let line = |number: u8| format!("{{\"task_id\":{number},\"status\":\"done\",\"result\":null}}\n");
        let tell = |number| firehose.publish(&[line(number).into_bytes()]);
        (0..10).for_each(tell);
        assert_eq!(read(&slow), line(0) + &line(1), "half of the limit");
        assert_eq!(read(&quick), (0..10).map(line).collect::<String>());
        tell(10);
        assert_eq!(read(&slow), format!("{{\"status\":\"missed\",\"count\":8}}\n{}", line(10)));
        tell(11);
        assert_eq!(read(&slow), line(11), "what was missed is told once");
    }

    #[test]
    fn whoever_is_in_the_gallery_leaves_it_or_is_told_that_it_closes() {
        let firehose = FirehoseSubscribers::default();
        let (left, stayed) = (Arc::new(Outbox::new(1024)), Arc::new(Outbox::new(1024)));
        firehose.add(&left);
        firehose.add(&stayed);
        firehose.remove_connection(&left);
        firehose.close_all(&RequestError::new(framework_protocol::ErrorCode::ShuttingDown, "The end."));
        assert!(firehose.is_empty());
        assert_eq!(read(&left), "");
        assert!(read(&stayed).contains("shutting_down"));
        assert!(stayed.is_settled(), "nothing more is promised");
    }
}
