//! The ids of tasks and batches.

/// The id of a task: rising from 0, never reused.
pub type TaskId = u64;

/// The id of a batch: rising from 1, never reused.
pub type BatchId = u64;
