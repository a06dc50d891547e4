//! `--watch`: repeats a report, for commands that show the state of the server.

use std::time::Duration;

use framework::prelude::*;
use tokio::signal::unix::{SignalKind, signal};

use super::server_address::parse_duration;

/// The options of a command whose report can be repeated.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchOption {
    /// Refresh until Ctrl-C: in place on a terminal, where the end of a long report is left out, else one
    /// block after the other
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
        match (self.is_json, output.has_screen()) {
            (false, true) => {
                if self.is_first {
                    leave_screen_on_signals();
                }
                output.begin_screen();
            }
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

/// Ends the program on Ctrl-C and SIGTERM, whatever the command waits for, with the terminal as it was
/// before.
fn leave_screen_on_signals() {
    tokio::spawn(async {
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        let code = tokio::select! {
            _ = interrupt.recv() => 128 + SignalKind::interrupt().as_raw_value(),
            _ = terminate.recv() => 128 + SignalKind::terminate().as_raw_value(),
        };
        Output::restore_screen();
        std::process::exit(code);
    });
}
