//! The value of a setting that is a time, in a table by name: `"7d"`.

use std::time::Duration;

use framework_console::config::duration;
use serde::{Deserialize, Serialize};

/// The time for which ended tasks of a function are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RetentionTime(#[serde(with = "duration")] pub Duration);
