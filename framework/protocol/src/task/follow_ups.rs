//! The tasks that an attempt wants to follow it: pushed ones, and a chain that begins with its result.

use bytes::Bytes;

use super::{Handler, NewTask};
use crate::error::{ErrorCode, RequestError};

/// How many tasks one attempt may push.
pub const PUSHES_MAX: usize = 10_000;
/// How many functions may follow one another.
const CHAIN_MAX: usize = 16;

/// The tasks that one attempt wants to follow it.
#[derive(Default)]
pub(super) struct FollowUps {
    attempt: u32,
    pushes: Vec<NewTask>,
    chain: Vec<&'static Handler>,
}

impl FollowUps {
    pub(super) fn push(&mut self, attempt: u32, task: NewTask) -> Result<(), RequestError> {
        let pushes = &mut self.of(attempt).pushes;
        if pushes.len() >= PUSHES_MAX {
            return Err(too_many(format!("One attempt pushes at most {PUSHES_MAX} tasks.")));
        }
        pushes.push(task);
        Ok(())
    }

    pub(super) fn then(&mut self, attempt: u32, handler: &'static Handler) -> Result<(), RequestError> {
        let chain = &mut self.of(attempt).chain;
        if chain.len() >= CHAIN_MAX {
            return Err(too_many(format!("At most {CHAIN_MAX} functions follow one another.")));
        }
        chain.push(handler);
        Ok(())
    }

    pub(super) fn is_of(&self, attempt: u32) -> bool {
        self.attempt == attempt && !(self.pushes.is_empty() && self.chain.is_empty())
    }

    /// The tasks to accept with this result.
    pub(super) fn tasks(self, result: &Bytes) -> Vec<NewTask> {
        let mut tasks = self.pushes;
        if let Some((first, rest)) = self.chain.split_first() {
            let mut task = NewTask::with_defaults(first, result.clone());
            if !rest.is_empty() {
                task.extra_mut().then = rest.iter().map(|handler| handler.name.into()).collect();
            }
            tasks.push(task);
        }
        tasks
    }

    /// The follow-ups of this attempt; those of an earlier one are dropped, for it has failed.
    fn of(&mut self, attempt: u32) -> &mut Self {
        if self.attempt != attempt {
            *self = Self { attempt, ..Self::default() };
        }
        self
    }
}

fn too_many(message: String) -> RequestError {
    RequestError::new(ErrorCode::Busy, message)
}
