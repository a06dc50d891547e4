//! What one listener lets in, and how it answers.

use super::access::Access;
use crate::protocol::{Code, Opening, Refusal, ReplyMode};

/// The rules of one listener.
#[derive(Debug)]
pub(super) struct Door {
    /// Where it listens, for people.
    pub(super) address: String,
    /// What a request gets that does not say.
    pub(super) reply: ReplyMode,
    /// What a client may do before it has shown a token.
    pub(super) access: Access,
}

impl Door {
    /// Whether it speaks what the first bytes announce.
    pub(super) fn speaks(&self, opening: Opening) -> bool {
        !matches!(opening, Opening::Tls | Opening::Http)
    }

    /// What a client hears that begins with something else.
    pub(super) fn refusal(&self, opening: Opening) -> Refusal {
        Refusal::new(
            Code::UnknownProtocol,
            format!("This address ({}) does not speak {opening:?}.", self.address),
        )
    }
}
