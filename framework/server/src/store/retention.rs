//! How long ended tasks are kept: failed ones apart from the others, and those of some functions apart from
//! all, so that a stream of ordinary ends takes none of them away.

use std::time::Duration;

use framework_protocol::views::State;
use rustc_hash::FxHashMap;

use super::options::StoreOptions;

/// The interval between warnings about failed tasks that are removed before their time.
const WARN_INTERVAL_MS: u64 = 60_000;

/// The classes of ended tasks: the first one is that of all that have not failed, the next one that of the
/// failed ones, and two more follow for each function with a time of its own.
#[derive(Debug)]
pub(super) struct RetentionClasses {
    limits: Vec<RetentionLimit>,
    functions: FxHashMap<String, usize>,
}

/// How long the tasks of a class are kept, and how many of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetentionLimit {
    pub(super) time_ms: u64,
    pub(super) count: usize,
}

impl RetentionClasses {
    pub(super) fn new(options: &StoreOptions) -> Self {
        let pair = |time: Duration, failed_time: Duration| {
            [(time, options.retention_count), (failed_time, options.failed_retention_count)].map(
                |(time, count)| RetentionLimit {
                    time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                    count,
                },
            )
        };
        let mut limits = pair(options.retention_time, options.failed_retention_time).to_vec();
        let mut functions = FxHashMap::default();
        for (function, time) in &options.function_retention {
            functions.insert(function.clone(), limits.len());
            limits.extend(pair(*time, *time));
        }
        Self { limits, functions }
    }

    /// The limit of each class.
    pub(super) fn limits(&self) -> &[RetentionLimit] {
        &self.limits
    }

    /// The class of an ended task.
    pub(super) fn class(&self, function: &str, state: State) -> usize {
        let first = if self.functions.is_empty() { None } else { self.functions.get(function) };
        let first = first.copied().unwrap_or(0);
        first + usize::from(state == State::Failed)
    }

    /// Whether the class depends on the function.
    pub(super) fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }
}

/// Whether a class is one of failed tasks.
pub(super) fn is_failed(class: usize) -> bool {
    class % 2 == 1
}

/// Warns when failed tasks are removed because there are too many of them; once a minute at most.
#[derive(Debug, Default)]
pub(super) struct FailedRemovalWarning {
    removed: u64,
    warned_ms: Option<u64>,
}

impl FailedRemovalWarning {
    /// Notes failed tasks that were removed before their time.
    pub(super) fn note(&mut self, removed: usize, now_ms: u64) {
        self.removed += removed as u64;
        let is_due = self.warned_ms.is_none_or(|warned_ms| now_ms.abs_diff(warned_ms) >= WARN_INTERVAL_MS);
        if self.removed > 0 && is_due {
            tracing::warn!(
                removed = self.removed,
                "failed tasks are removed before their time, for there are too many (failed_retention_count)"
            );
            (self.removed, self.warned_ms) = (0, Some(now_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_keeps_failed_tasks_and_those_of_named_functions_apart() {
        let function_retention = [("mail".to_owned(), Duration::from_secs(5))].into();
        let classes = RetentionClasses::new(&StoreOptions { function_retention, ..StoreOptions::default() });
        let all =
            [("any", State::Done), ("any", State::Failed), ("mail", State::Done), ("mail", State::Failed)];
        assert_eq!(all.map(|(function, state)| classes.class(function, state)), [0, 1, 2, 3]);
        assert_eq!(classes.class("any", State::Expired), 0);
        let times: Vec<_> = classes.limits().iter().map(|limit| limit.time_ms / 1_000).collect();
        assert_eq!(times, [86_400, 7 * 86_400, 5, 5]);
    }
}
