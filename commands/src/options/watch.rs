//! `--watch`: shows the same thing again and again, for the commands that tell how the server is.

use std::time::Duration;

use framework::prelude::*;

use super::server_address::parse_duration;

/// The options of a command whose answer may be watched.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchOption {
    /// Show it again and again until Ctrl-C: in place on a terminal, else one block after the other
    #[arg(long)]
    watch: bool,
    /// How long to wait before the next look, such as 500ms or 10s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration, requires = "watch")]
    every: Duration,
}

/// Looking more often would only keep the server busy.
const SHORTEST: Duration = Duration::from_millis(50);

impl WatchOption {
    /// The first look, and those after it. `is_json`: nothing stands between two blocks.
    pub(crate) fn begin(&self, is_json: bool) -> Refresh<'_> {
        Refresh { again: self, is_json, is_first: true }
    }
}

/// One look after the other.
pub(crate) struct Refresh<'a> {
    again: &'a WatchOption,
    is_json: bool,
    is_first: bool,
}

impl Refresh<'_> {
    /// Makes room for what was seen.
    pub(crate) fn separate(&mut self, output: &mut Output) {
        if !self.again.watch {
            return;
        }
        match (self.is_json, output.is_on_terminal()) {
            (false, true) => output.text("\x1b[H\x1b[2J"),
            (false, false) if !self.is_first => output.line(""),
            _ => {}
        }
        self.is_first = false;
    }

    /// Waits until it is time for the next look; `false` when there is none, or nobody reads it.
    pub(crate) async fn next(&self, output: &mut Output) -> bool {
        output.flush();
        if !self.again.watch || output.is_closed() {
            return false;
        }
        tokio::time::sleep(self.again.every.max(SHORTEST)).await;
        true
    }
}
