//! The lines of a file that are no tasks.

use framework::prelude::*;

use crate::format::pluralize;

/// How many are told; of the others, only the number.
const TOLD: usize = 10;

/// The lines of a file that are no tasks: the first ones, and how many.
#[derive(Default)]
pub(super) struct BadLines {
    pub(super) count: u64,
    first: Vec<(u64, String)>,
}

impl BadLines {
    pub(super) fn add(&mut self, line: u64, why: String) {
        self.count += 1;
        // The server's refusals come later than what was seen here.
        let place = self.first.partition_point(|(before, _)| *before < line);
        self.first.insert(place, (line, why));
        self.first.truncate(TOLD);
    }

    /// The first one in a sentence.
    pub(super) fn first(&self) -> Option<String> {
        self.first.first().map(|(line, why)| format!("line {line}: {why}"))
    }

    /// Says which lines were left out.
    pub(super) fn warn(&self, output: &mut Output) {
        if self.count == 0 {
            return;
        }
        output.warn(format_args!("{} left out:", pluralize(self.count, "bad line")));
        for (line, why) in &self.first {
            output.note(format_args!("  line {line}: {why}"));
        }
        match self.count - self.first.len() as u64 {
            0 => {}
            more => output.note(format_args!("  and {more} more")),
        }
    }
}
