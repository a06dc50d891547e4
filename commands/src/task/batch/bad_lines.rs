//! The lines of a file that are not tasks.

use framework::prelude::*;

use crate::format::pluralize;

/// The number of lines that are kept; the others are only counted.
const KEPT: usize = 10;

/// The first lines of a file that are not tasks, and the number of all.
#[derive(Default)]
pub(super) struct BadLines {
    pub(super) count: u64,
    first: Vec<(u64, String)>,
}

impl BadLines {
    pub(super) fn add(&mut self, line: u64, reason: String) {
        self.count += 1;
        // Errors of the server arrive later than those found here.
        let place = self.first.partition_point(|(before, _)| *before < line);
        self.first.insert(place, (line, reason));
        self.first.truncate(KEPT);
    }

    /// The first bad line and its reason.
    pub(super) fn first(&self) -> Option<String> {
        self.first.first().map(|(line, reason)| format!("line {line}: {reason}"))
    }

    /// Warns about the lines that were skipped.
    pub(super) fn warn(&self, output: &mut Output) {
        if self.count == 0 {
            return;
        }
        output.warn(format_args!("{} skipped:", pluralize(self.count, "bad line")));
        for (line, reason) in &self.first {
            output.note(format_args!("  line {line}: {reason}"));
        }
        let more = self.count - self.first.len() as u64;
        if more > 0 {
            output.note(format_args!("  and {more} more"));
        }
    }
}
