//! The vocabulary: a task, its attempts and outcomes, and the handlers that run them.
