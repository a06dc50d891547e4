//! The states of a task.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray, VariantNames};

/// The state of a task.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    EnumString,
    IntoStaticStr,
    VariantArray,
    VariantNames,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// It waits for a worker, for its time to come, or for its batch to be sealed.
    Waiting,
    Running,
    /// It ended with a result.
    Done,
    /// It ended with an error, and is not tried again.
    Failed,
    Cancelled,
    /// It was not started in time.
    Expired,
}

impl State {
    pub const ALL: &'static [Self] = <Self as VariantArray>::VARIANTS;
    /// The names of all states, in the same order.
    pub const NAMES: &'static [&'static str] = <Self as VariantNames>::VARIANTS;

    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether the task has ended.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}
