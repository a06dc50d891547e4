//! The asynchronous task server.
