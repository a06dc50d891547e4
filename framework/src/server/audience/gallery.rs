//! Those who follow all tasks: they hear of every progress and every end, as fast as they read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::protocol::{Refusal, Reply};
use crate::server::outbox::{Outbox, Place};

/// The clients that follow all tasks.
#[derive(Default)]
pub(super) struct Gallery {
    /// How many there are, for the many moments when there are none.
    count: AtomicUsize,
    listeners: Mutex<Vec<Listener>>,
}

struct Listener {
    outbox: Arc<Outbox>,
    /// How many lines have come since it was last fast enough.
    missed: u64,
}

impl Gallery {
    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().expect("no one panics while holding the gallery")
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Lets a client in; it is promised one answer, for the day when nothing more will come.
    pub(super) fn enter(&self, outbox: &Arc<Outbox>) {
        outbox.promise(1);
        let mut listeners = self.listeners();
        listeners.push(Listener { outbox: outbox.clone(), missed: 0 });
        self.count.store(listeners.len(), Ordering::SeqCst);
    }

    pub(super) fn leave(&self, outbox: &Arc<Outbox>) {
        if self.is_empty() {
            return;
        }
        let mut listeners = self.listeners();
        listeners.retain(|listener| !Arc::ptr_eq(&listener.outbox, outbox));
        self.count.store(listeners.len(), Ordering::SeqCst);
    }

    /// Tells all of them one line after the other.
    pub(super) fn tell(&self, lines: &[Vec<u8>]) {
        for listener in &mut *self.listeners() {
            lines.iter().for_each(|line| listener.tell(line));
        }
    }

    /// Tells them that nothing more will come.
    pub(super) fn dismiss(&self, refusal: &Refusal) {
        let listeners = std::mem::take(&mut *self.listeners());
        self.count.store(0, Ordering::SeqCst);
        let mut line = Vec::new();
        Reply::new(&mut line).refused(None, refusal);
        for listener in listeners {
            listener.outbox.answer(std::iter::once((Place::Anywhere, &line[..])));
        }
    }
}

impl Listener {
    fn tell(&mut self, line: &[u8]) {
        if self.missed == 0 {
            self.missed += u64::from(!self.outbox.offer(line));
            return;
        }
        let mut lines = Vec::new();
        Reply::new(&mut lines).missed(self.missed);
        lines.extend_from_slice(line);
        match self.outbox.offer(&lines) {
            true => self.missed = 0,
            false => self.missed += 1,
        }
    }
}
