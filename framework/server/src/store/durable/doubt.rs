//! Calls of which it is not known whether they were carried out: nothing of them is answered before it is.

use std::time::{Duration, Instant};

use super::journal::{Journal, JournalError, JournalErrorKind, JournalReader};
use super::outage::Outage;
use super::write_queue::WriterSleep;
use super::writer::Writer;

/// The pauses between tries to find out: the first one, and the longest.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The time after which a store that ends does not try any more.
const PATIENCE: Duration = Duration::from_secs(5);

impl<J: Journal> Writer<J> {
    /// Makes a call until it is known whether it was carried out. Other requests are refused meanwhile.
    ///
    /// # Errors
    /// Those of the call; and when the store ends before it is known.
    pub(super) fn until_known<T>(
        &mut self,
        mut call: impl FnMut(&mut J) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let mut result = call(&mut self.journal);
        let (begin, mut pause) = (Instant::now(), PAUSE);
        while let Err(error) = &result {
            if error.kind != JournalErrorKind::InDoubt {
                break;
            }
            if !self.wait_in_doubt(error, pause, begin + PATIENCE) {
                let message =
                    format!("The server ended before it was known what was written: {}", error.message);
                return Err(JournalError::new(JournalErrorKind::Failed, message));
            }
            (result, pause) = (call(&mut self.journal), (2 * pause).min(PAUSE_MAX));
        }
        let mut state = self.shared.state();
        if state.outage.as_ref().is_some_and(Outage::is_in_doubt) {
            state.outage = None;
            tracing::info!("It is known again what was written to {}.", J::Reader::PLACE);
        }
        drop(state);
        result
    }

    /// Waits for a pause, and refuses what comes in meanwhile; `false` when the store ends, and its time is
    /// over.
    fn wait_in_doubt(&mut self, error: &JournalError, pause: Duration, until: Instant) -> bool {
        let (now, begin) = (self.shared.clock.now(), Instant::now());
        let outage = Outage::new(error.clone(), now);
        if !self.shared.state().outage.as_ref().is_some_and(Outage::is_in_doubt) {
            tracing::error!("{}", outage.describe());
        }
        loop {
            self.refuse_requests(Vec::new(), &outage);
            let mut state = self.shared.state();
            let rest = pause.saturating_sub(begin.elapsed());
            if state.write_queue.stops() {
                drop(state);
                std::thread::sleep(rest);
                return Instant::now() < until;
            }
            if rest.is_zero() {
                return true;
            }
            if !state.write_queue.is_urgent() {
                state.write_queue.set_sleep(WriterSleep::Nap);
                state = self.wait(state, rest);
                state.write_queue.set_sleep(WriterSleep::Awake);
            }
        }
    }
}
