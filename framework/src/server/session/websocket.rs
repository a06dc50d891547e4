//! Talks in WebSocket messages: each is a request or raw data, as a line is.
