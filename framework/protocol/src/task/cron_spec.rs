//! When tasks of a handler are made by the clock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When tasks of a handler are made by the clock: what `cron`, `timezone`, `missed` and `overlap` of
/// `#[task(..)]` say, and the tables of config/schedule.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CronSpec {
    /// Five fields, or six that begin with the seconds; see [`Cron`](framework_server::schedule::Cron).
    pub cron: &'static str,
    /// A name of the IANA database, such as `Asia/Shanghai`.
    pub timezone: &'static str,
    pub missed: MissedRunPolicy,
    pub overlap: OverlapPolicy,
}

impl CronSpec {
    /// In UTC; missed runs are made up for once; runs may overlap.
    pub const fn of(cron: &'static str) -> Self {
        Self { cron, timezone: "UTC", missed: MissedRunPolicy::Once, overlap: OverlapPolicy::Allow }
    }
}

/// What becomes of the times at which no server ran, or none that could accept a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissedRunPolicy {
    /// Nothing, unless it was less than a minute ago.
    Skip,
    /// One task for all of them, as soon as one can be accepted.
    #[default]
    Once,
    /// A task for each of them, but at most for the last 1,000.
    All,
}

/// What happens when the time comes and the task of the time before has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OverlapPolicy {
    /// There is another task.
    #[default]
    Allow,
    /// There is none this time; nor is there more than one for several that were missed.
    Skip,
}
