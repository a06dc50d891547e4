//! The result of one phase of a session.

use bytes::Bytes;
use framework_protocol::DetectedProtocol;

/// The next step of a session after a phase.
pub(crate) enum SessionStep {
    /// The peer has closed and has its replies, or nothing more is to be read.
    Closed,
    /// The input cannot be understood or is not accepted; the peer has been sent the error.
    ProtocolError,
    /// The token of the client is not valid any more; the peer has been sent the error.
    Revoked,
    /// The client has shown its token in this protocol; the bytes came after it.
    Authenticated(DetectedProtocol, Bytes),
    /// The connection begins with another protocol than the phase serves; the bytes are its beginning.
    ProtocolDetected(DetectedProtocol, Bytes),
}
