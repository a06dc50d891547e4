//! `--watch`: repeats a report, for commands that show the state of the server.

use std::time::Duration;

use framework::prelude::*;

use super::server_address::parse_duration;

/// The options of a command whose report can be repeated.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchOption {
    /// Refresh until Ctrl-C: in place on a terminal, else one block after the other
    #[arg(long)]
    watch: bool,
    /// Refresh interval, such as 500ms or 10s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration, requires = "watch")]
    every: Duration,
}

/// The shortest interval: a shorter one would only keep the server busy.
const MIN_INTERVAL: Duration = Duration::from_millis(50);

impl WatchOption {
    /// Begins the first report. `is_json`: nothing separates two reports.
    pub(crate) fn begin(&self, is_json: bool) -> Refresh<'_> {
        Refresh { options: self, is_json, is_first: true }
    }
}

/// A sequence of reports.
pub(crate) struct Refresh<'a> {
    options: &'a WatchOption,
    is_json: bool,
    is_first: bool,
}

impl Refresh<'_> {
    /// Separates the next report from the one before.
    pub(crate) fn separate(&mut self, output: &mut Output) {
        if !self.options.watch {
            return;
        }
        match (self.is_json, output.is_on_terminal()) {
            (false, true) => output.text("\x1b[H\x1b[2J"),
            (false, false) if !self.is_first => output.line(""),
            _ => {}
        }
        self.is_first = false;
    }

    /// Waits for the time of the next report; `false` if there is none, or its reader is gone.
    pub(crate) async fn next(&self, output: &mut Output) -> bool {
        output.flush();
        if !self.options.watch || output.is_closed() {
            return false;
        }
        tokio::time::sleep(self.options.every.max(MIN_INTERVAL)).await;
        true
    }
}
