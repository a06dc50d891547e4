//! The server under load: hostile clients, and a long mixed load with restarts.

mod hostile;
mod soak;
