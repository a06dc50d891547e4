//! Bytes to requests, replies to bytes; no sockets.
