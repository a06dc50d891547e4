//! The time in which a journal is not written, and what is refused meanwhile.

use std::time::Duration;

use framework_protocol::{ErrorCode, RequestError};

use super::journal::{JournalError, JournalErrorKind};
use crate::store::clock::Now;

/// The time for which pushes are refused without another write.
const PAUSE: Duration = Duration::from_millis(100);

/// The reason why nothing is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outage {
    error: JournalError,
    until: Duration,
    /// Whether it is over only when there is room again.
    awaits_room: bool,
}

impl Outage {
    /// Begins with an error that the journal has just returned.
    pub(super) fn new(error: JournalError, now: Now) -> Self {
        Self { error, until: now.steady + PAUSE, awaits_room: false }
    }

    /// The room that is left is for the ends of tasks.
    pub(super) fn until_there_is_room(self) -> Self {
        Self { awaits_room: self.is_full(), ..self }
    }

    /// Whether the journal is not where it was, or cannot be reached.
    pub(super) fn is_unavailable(&self) -> bool {
        self.error.kind == JournalErrorKind::Unavailable
    }

    /// Whether it is not known what was written last.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.error.kind == JournalErrorKind::InDoubt
    }

    /// Whether only a new start ends it.
    pub(super) fn is_final(&self) -> bool {
        self.error.kind == JournalErrorKind::Failed
    }

    /// Whether there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.error.kind == JournalErrorKind::Full
    }

    /// Whether pushes are refused without another write.
    pub(super) fn refuses_pushes(&self, now: Now) -> bool {
        self.awaits_room || self.refuses(now)
    }

    /// Whether nothing is written for a moment.
    pub(super) fn refuses(&self, now: Now) -> bool {
        self.is_final() || self.is_unavailable() || self.is_in_doubt() || now.steady < self.until
    }

    pub(super) fn refusal(&self) -> RequestError {
        let code = match self.error.kind {
            JournalErrorKind::Full => ErrorCode::StorageFull,
            JournalErrorKind::Busy | JournalErrorKind::InDoubt => ErrorCode::Busy,
            JournalErrorKind::Failed | JournalErrorKind::Unavailable => ErrorCode::StorageFailed,
        };
        let retry_after_ms = (!self.is_final()).then_some(self.error.retry_after.as_millis() as u64);
        RequestError { retry_after_ms, ..RequestError::new(code, self.describe()) }
    }

    /// The reason as a sentence for people.
    pub(super) fn describe(&self) -> String {
        self.error.message.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(kind: JournalErrorKind) -> Outage {
        Outage::new(JournalError::new(kind, "No."), Now::default())
    }

    #[test]
    fn outage_refuses_tasks_for_ever_until_it_is_over_or_for_a_moment() {
        let later = Now { steady: Duration::from_secs(365 * 24 * 60 * 60), ..Now::default() };
        for (kind, code, lasts) in [
            (JournalErrorKind::Failed, ErrorCode::StorageFailed, true),
            (JournalErrorKind::Unavailable, ErrorCode::StorageFailed, true),
            (JournalErrorKind::InDoubt, ErrorCode::Busy, true),
            (JournalErrorKind::Full, ErrorCode::StorageFull, false),
            (JournalErrorKind::Busy, ErrorCode::Busy, false),
        ] {
            let outage = outage(kind);
            assert!(outage.refuses_pushes(Now::default()));
            assert_eq!((outage.refuses_pushes(later), outage.refusal().code), (lasts, code), "{kind:?}");
            let is_final = kind == JournalErrorKind::Failed;
            assert_eq!((outage.is_final(), outage.refusal().retry_after_ms.is_none()), (is_final, is_final));
        }
        assert!(outage(JournalErrorKind::Full).until_there_is_room().refuses_pushes(later));
        assert!(!outage(JournalErrorKind::Busy).until_there_is_room().refuses_pushes(later));
    }
}
