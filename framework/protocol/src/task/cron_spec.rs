//! The schedule by which the server makes tasks of a handler.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The schedule by which the server makes tasks of a handler: `cron`, `timezone`, `missed` and `overlap` of
/// `#[task(..)]`, and of the tables of config/schedule.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CronSpec {
    /// Five fields, or six that begin with the seconds; see `schedule::Cron` of the server.
    pub cron: &'static str,
    /// A name of the IANA database, such as `Asia/Shanghai`.
    pub timezone: &'static str,
    pub missed: MissedRunPolicy,
    pub overlap: OverlapPolicy,
}

impl CronSpec {
    /// A schedule in UTC whose missed runs are made up for once and whose runs may overlap.
    pub const fn of(cron: &'static str) -> Self {
        Self { cron, timezone: "UTC", missed: MissedRunPolicy::Once, overlap: OverlapPolicy::Allow }
    }
}

/// The runs that are made up for when no server ran at their time, or none that could accept a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissedRunPolicy {
    /// None, unless its time was less than a minute ago.
    Skip,
    /// One task for all of them, as soon as one can be accepted.
    #[default]
    Once,
    /// A task for each of them, but at most for the last 1,000.
    All,
}

/// The policy for a run whose time comes while the task of the run before has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OverlapPolicy {
    /// There is another task.
    #[default]
    Allow,
    /// There is none this time; nor is there more than one for several that were missed.
    Skip,
}
