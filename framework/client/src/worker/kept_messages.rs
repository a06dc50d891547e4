//! Messages about short attempts, which go out together.
//!
//! Until then they stand in a file in memory that the server holds, too: should this process crash, it
//! takes them from there. So it knows of each attempt before that begins, and has the ends of all before
//! it, without being woken for each.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// The longest time that a message waits for others, while attempts are short.
const KEEP_TIME: Duration = Duration::from_millis(1);
/// The most bytes of ends that wait.
const KEEP_MAX: usize = 64 * 1024;
/// What stands before and behind the ends of a message.
const SETTLE: &[u8] = b"{\"command\":\"settle\",\"ends\":[";
const SETTLE_END: &[u8] = b"],\"credit\":0}\n";

/// Messages that go out together, and their record.
pub(super) struct KeptMessages {
    /// A message with ends, without [`SETTLE_END`]; empty when there are none.
    ends: Vec<u8>,
    /// The message about the attempt that has begun and not ended.
    begun: Vec<u8>,
    /// Whole messages that come after these.
    others: Vec<u8>,
    record: File,
    /// The bytes of `ends` that the record has; `None` while it is empty.
    recorded: Option<usize>,
    composed: Vec<u8>,
    /// When the first of them was kept.
    since: Instant,
}

impl KeptMessages {
    /// No messages, and an empty record.
    pub(super) fn new(record: File) -> Self {
        let (ends, begun, others, composed) = Default::default();
        Self { ends, begun, others, record, recorded: None, composed, since: Instant::now() }
    }

    /// Whether an end of this length makes no message of more than `message_max` bytes.
    pub(super) fn fits(&self, length: usize, message_max: usize) -> bool {
        self.ends.is_empty() || self.ends.len() + length + 128 <= message_max.min(KEEP_MAX)
    }

    /// Adds the end of the attempt that had begun.
    pub(super) fn end(&mut self, end: &[u8]) {
        if self.ends.is_empty() {
            self.ends.extend_from_slice(SETTLE);
        } else {
            self.ends.push(b',');
        }
        self.ends.extend_from_slice(end);
        self.begun.clear();
    }

    /// Adds that the attempt of this lease begins.
    pub(super) fn begin(&mut self, lease: &str) {
        if self.ends.is_empty() {
            self.since = Instant::now();
        }
        self.begun.extend_from_slice(b"{\"command\":\"begin\",\"lease\":\"");
        self.begun.extend_from_slice(lease.as_bytes());
        self.begun.extend_from_slice(b"\"}\n");
    }

    /// The messages that come last.
    pub(super) fn others(&mut self) -> &mut Vec<u8> {
        &mut self.others
    }

    /// Whether they are to go out.
    pub(super) fn is_due(&self) -> bool {
        self.since.elapsed() >= KEEP_TIME
    }

    /// All messages, in the order in which they go out.
    pub(super) fn compose(&mut self) -> &[u8] {
        self.compose_from(0);
        &self.composed
    }

    /// All messages, without the first bytes of the ends.
    fn compose_from(&mut self, start: usize) {
        self.composed.clear();
        if !self.ends.is_empty() {
            self.composed.extend_from_slice(&self.ends[start..]);
            self.composed.extend_from_slice(SETTLE_END);
        }
        self.composed.extend_from_slice(&self.begun);
        self.composed.extend_from_slice(&self.others);
    }

    /// Writes them to the record, over what has become longer.
    ///
    /// # Errors
    /// There is no memory left.
    pub(super) fn record(&mut self) -> io::Result<()> {
        let start = self.recorded.unwrap_or(0);
        self.compose_from(start);
        self.record.write_all_at(&self.composed, start as u64)?;
        self.recorded = Some(self.ends.len());
        Ok(())
    }

    /// Removes them, also from the record.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.ends.clear();
        self.begun.clear();
        self.others.clear();
        if self.recorded.take().is_some() {
            self.record.set_len(0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn recorded(record: &File) -> String {
        let mut bytes = vec![0; record.metadata().unwrap().len() as usize];
        record.read_exact_at(&mut bytes, 0).unwrap();
        text(&bytes)
    }

    fn end(kept: &mut KeptMessages, lease: &str) {
        kept.end(format!("{{\"lease\":\"{lease}\"}}").as_bytes());
    }

    #[test]
    fn record_has_what_is_kept_at_every_moment() {
        let record = File::from(memfd_create("record", MemfdFlags::CLOEXEC).unwrap());
        let mut kept = KeptMessages::new(record.try_clone().unwrap());
        for lease in ["1.a", "1.b", "1.c"] {
            kept.begin(lease);
            kept.record().unwrap();
            assert_eq!(recorded(&record), text(kept.compose()));
            end(&mut kept, lease);
        }
        kept.begin("1.d");
        kept.record().unwrap();
        let expected = "{\"command\":\"settle\",\"ends\":[{\"lease\":\"1.a\"},{\"lease\":\"1.b\"},{\"lease\":\"1.c\"}],\
            \"credit\":0}\n{\"command\":\"begin\",\"lease\":\"1.d\"}\n";
        assert_eq!((recorded(&record).as_str(), text(kept.compose()).as_str()), (expected, expected));
        kept.clear().unwrap();
        assert_eq!((recorded(&record), text(kept.compose())), (String::new(), String::new()));
        assert!(kept.fits(1_000, 100), "it goes alone");
        end(&mut kept, "1.d");
        assert!(kept.fits(1_000, 2_000) && !kept.fits(1_900, 2_000) && !kept.fits(KEEP_MAX, usize::MAX));
    }
}
