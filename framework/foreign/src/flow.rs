//! Whether a connection goes on.

/// Whether more is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Continue,
    /// The connection ends once what was answered is written.
    Close,
}
