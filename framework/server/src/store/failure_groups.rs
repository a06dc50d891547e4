//! Groups failed tasks by their cause, as far as they are looked at.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use framework_protocol::task::TaskId;
use framework_protocol::views::{
    FailureCause, FailureDay, FailureFilter, FailureGroup, FailureReport, error_pattern,
};

/// The failed tasks that are looked at, and the time for that: other queries wait meanwhile.
const TASKS_MAX: u64 = 100_000;
const TIME_MAX: Duration = Duration::from_secs(1);
/// The number of tasks after which the time is looked at.
const TIME_CHECK: u64 = 512;
/// The causes that are told apart; the tasks of others are only counted.
const GROUPS_MAX: usize = 1_000;
/// The last days that a group counts.
const DAYS_MAX: usize = 31;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// The characters that are kept of an error.
const ERROR_MAX: usize = 1_000;

/// A failed task.
pub struct FailedTask<'a> {
    pub id: TaskId,
    pub queue: &'a str,
    pub function: &'a str,
    pub error: &'a str,
    pub ended_ms: u64,
}

/// The groups of the failed tasks that were looked at.
pub struct FailureGroups {
    filter: FailureFilter,
    groups: HashMap<FailureCause, FailureGroup>,
    /// The number of tasks that were looked at, also of those that the filter does not select.
    seen: u64,
    failed: u64,
    unlisted: u64,
    is_complete: bool,
    deadline: Instant,
}

impl FailureGroups {
    pub fn new(filter: FailureFilter) -> Self {
        let deadline = Instant::now() + TIME_MAX;
        Self { filter, groups: HashMap::new(), seen: 0, failed: 0, unlisted: 0, is_complete: true, deadline }
    }

    /// Adds a failed task; `false` when it is not looked at any more, and neither are others.
    pub fn add(&mut self, task: &FailedTask) -> bool {
        let is_late = self.seen % TIME_CHECK == TIME_CHECK - 1 && Instant::now() > self.deadline;
        self.is_complete = self.seen < TASKS_MAX && !is_late;
        if self.is_complete {
            self.seen += 1;
            self.group(task);
        }
        self.is_complete
    }

    fn group(&mut self, task: &FailedTask) {
        if !self.filter.is_of(task.queue, task.function) {
            return;
        }
        let pattern = error_pattern(task.error);
        let cause = FailureCause::new(task.function, &pattern);
        if self.filter.cause.is_some_and(|wanted| wanted != cause) {
            return;
        }
        self.failed += 1;
        let is_full = self.groups.len() >= GROUPS_MAX;
        match self.groups.entry(cause) {
            Entry::Occupied(known) => add(known.into_mut(), task),
            Entry::Vacant(_) if is_full => self.unlisted += 1,
            Entry::Vacant(new) => {
                let group = FailureGroup {
                    cause,
                    function: task.function.to_owned(),
                    pattern,
                    count: 0,
                    first_ms: task.ended_ms,
                    last_ms: 0,
                    last_task: task.id,
                    error: String::new(),
                    days: Vec::new(),
                };
                add(new.insert(group), task);
            }
        }
    }

    /// The report, with at most so many groups.
    pub fn report(self, limit: usize) -> FailureReport {
        let Self { groups, failed, mut unlisted, is_complete, .. } = self;
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| (std::cmp::Reverse((group.count, group.last_ms)), group.cause));
        unlisted += groups.iter().skip(limit).map(|group| group.count).sum::<u64>();
        groups.truncate(limit);
        FailureReport { groups, failed, unlisted, is_complete }
    }
}

fn add(group: &mut FailureGroup, task: &FailedTask) {
    group.count += 1;
    group.first_ms = group.first_ms.min(task.ended_ms);
    if task.ended_ms >= group.last_ms {
        (group.last_ms, group.last_task) = (task.ended_ms, task.id);
        group.error = task.error.chars().take(ERROR_MAX).collect();
    }
    let at_ms = task.ended_ms / DAY_MS * DAY_MS;
    match group.days.binary_search_by_key(&at_ms, |day| day.at_ms) {
        Ok(index) => group.days[index].count += 1,
        Err(index) => {
            group.days.insert(index, FailureDay { at_ms, count: 1 });
            if group.days.len() > DAYS_MAX {
                group.days.remove(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task<'a>(id: TaskId, error: &'a str, ended_ms: u64) -> FailedTask<'a> {
        FailedTask { id, queue: "bulk", function: "mail", error, ended_ms }
    }

    #[test]
    fn failures_of_one_cause_are_one_group_with_its_days() {
        let mut groups = FailureGroups::new(FailureFilter::default());
        for (id, error, ended_ms) in
            [(1, "no route to 10.0.0.1", 5), (2, "bounced", 7), (3, "no route to 10.0.0.2", DAY_MS + 1)]
        {
            assert!(groups.add(&task(id, error, ended_ms)));
        }
        let report = groups.report(1);
        assert_eq!((report.failed, report.unlisted, report.is_complete), (3, 1, true));
        let group = &report.groups[0];
        assert_eq!((group.count, group.first_ms, group.last_ms, group.last_task), (2, 5, DAY_MS + 1, 3));
        assert_eq!((&*group.pattern, &*group.error), ("no route to #", "no route to 10.0.0.2"));
        let days: Vec<_> = group.days.iter().map(|day| (day.at_ms, day.count)).collect();
        assert_eq!(days, [(0, 1), (DAY_MS, 1)]);
    }

    #[test]
    fn failures_are_looked_at_up_to_a_bound() {
        let mut groups = FailureGroups::new(FailureFilter::of_queue("other"));
        groups.deadline += Duration::from_secs(3_600);
        let added = (0..TASKS_MAX + 5).take_while(|id| groups.add(&task(*id, "bounced", 1))).count();
        assert_eq!(added as u64, TASKS_MAX);
        let report = groups.report(10);
        assert_eq!((report.failed, report.is_complete), (0, false));
    }

    #[test]
    fn groups_are_bounded_in_their_number_and_their_days() {
        let mut groups = FailureGroups::new(FailureFilter::default());
        groups.deadline += Duration::from_secs(3_600);
        for id in 0..GROUPS_MAX as u64 + 7 {
            let letters: String = id.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
            assert!(groups.add(&task(id, &letters, 1)));
        }
        (0..40).for_each(|day| assert!(groups.add(&task(0, "b", day * DAY_MS))));
        assert_eq!(groups.groups.len(), GROUPS_MAX);
        let report = groups.report(5);
        assert_eq!((report.groups[0].count, report.groups[0].days.len()), (41, DAYS_MAX));
        assert_eq!(report.unlisted, GROUPS_MAX as u64 - 5 + 7);
    }
}
