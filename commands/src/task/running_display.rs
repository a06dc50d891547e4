//! The running tasks that a shutdown or a reload waits for, as they are shown.

use std::collections::BTreeMap;
use std::time::Duration;

use framework::humantime::format_duration;
use framework::prelude::*;

/// The display of the running tasks that a shutdown or reload waits for.
#[derive(Default)]
pub(super) struct RunningDisplay {
    shown: BTreeMap<String, u64>,
}

impl RunningDisplay {
    /// Shows the running tasks: in place on a terminal, elsewhere when they have changed.
    pub(super) fn show(&mut self, grace_ms: u64, running: &BTreeMap<String, u64>, output: &mut Output) {
        if running.is_empty() {
            return;
        }
        let counts: Vec<_> =
            running.iter().map(|(function, count)| format!("{count} of {function}")).collect();
        let grace = format_duration(Duration::from_secs(grace_ms.div_ceil(1000)));
        let text = format!("Waiting up to {grace} for running tasks: {}", counts.join(", "));
        if output.is_interactive() {
            output.redraw(text);
        } else if self.shown != *running {
            self.shown.clone_from(running);
            output.note(text);
        }
    }
}
