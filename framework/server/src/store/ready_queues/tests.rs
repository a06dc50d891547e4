//! The order in which tasks of several queues are taken.

use std::collections::BTreeMap;

use super::*;
use crate::store::{Rate, RemoteScope};

/// Pushes so many tasks, with ids from `first` on.
fn push(queues: &mut ReadyQueues, queue: &str, priority: u8, first: TaskId, count: u64) {
    let place = queues.place(queue, "any", priority);
    (first..first + count).for_each(|id| queues.push(Waiting { id, task: None, place }));
}

/// The ids of the tasks that are taken, one at a time.
fn take(queues: &mut ReadyQueues, count: usize, now: Now) -> Vec<TaskId> {
    let mut taken = Vec::new();
    (0..count).for_each(|_| queues.take(TakeFrom::Group(0), 1, now, |waiting| taken.push(waiting.id)));
    taken
}

fn options() -> StoreOptions {
    StoreOptions { oldest_first_every: 0, ..StoreOptions::default() }
}

/// The number of ids from `first` on.
fn count_from(first: TaskId, ids: &[TaskId]) -> usize {
    ids.iter().filter(|id| **id >= first).count()
}

#[test]
fn take_begins_with_the_highest_priority() {
    let mut queues = ReadyQueues::new(options());
    push(&mut queues, "a", 0, 0, 1);
    push(&mut queues, "a", 9, 1, 2);
    assert_eq!(take(&mut queues, 3, Now::default()), [1, 2, 0]);
}

#[test]
fn take_gives_each_queue_its_weight() {
    let mut queues =
        ReadyQueues::new(StoreOptions { weights: BTreeMap::from([("b".into(), 3)]), ..options() });
    push(&mut queues, "a", 0, 0, 100);
    push(&mut queues, "b", 0, 1_000, 100);
    let taken = take(&mut queues, 40, Now::default());
    assert_eq!(count_from(1_000, &taken), 30, "{taken:?}");
}

#[test]
fn queue_that_had_nothing_to_do_does_not_catch_up() {
    let mut queues = ReadyQueues::new(options());
    push(&mut queues, "a", 0, 0, 200);
    push(&mut queues, "b", 0, 1_000, 1);
    take(&mut queues, 101, Now::default());
    push(&mut queues, "b", 0, 1_001, 50);
    let taken = take(&mut queues, 20, Now::default());
    assert_eq!(count_from(1_000, &taken), 10, "{taken:?}");
}

#[test]
fn take_leaves_out_paused_queues() {
    let mut queues = ReadyQueues::new(options());
    push(&mut queues, "a", 0, 0, 1);
    push(&mut queues, "b", 0, 1, 1);
    queues.pause("a", true);
    assert_eq!(take(&mut queues, 2, Now::default()), [1]);
    assert!(!queues.is_due(TakeFrom::Group(0), Now::default()));
    queues.pause("a", false);
    assert_eq!(take(&mut queues, 2, Now::default()), [0]);
}

#[test]
fn take_keeps_to_the_rate_of_a_queue() {
    let rate = Rate { count: 10, per: Duration::from_secs(1) };
    let mut queues =
        ReadyQueues::new(StoreOptions { rates: BTreeMap::from([("a".into(), rate)]), ..options() });
    push(&mut queues, "a", 0, 0, 10);
    let at = |tenths: u64| Now { steady: Duration::from_millis(100 * tenths), ..Now::default() };
    assert_eq!(take(&mut queues, 5, at(0)), [0]);
    assert_eq!(queues.next_due(TakeFrom::Group(0), at(0)), Some(Duration::from_millis(100)));
    assert_eq!(take(&mut queues, 5, at(1)), [1]);
    assert_eq!(take(&mut queues, 5, at(9)), [2], "no more than a tenth of a period is saved up");
}

#[test]
fn task_of_a_function_that_runs_elsewhere_waits_in_a_line_of_its_own() {
    let local_functions = Some(["any".to_owned()].into_iter().collect());
    let mut queues = ReadyQueues::new(StoreOptions { local_functions, ..options() });
    push(&mut queues, "a", 0, 0, 1);
    for (function, id) in [("resize", 1), ("pay", 2), ("resize", 3)] {
        let place = queues.place("a", function, 0);
        queues.push(Waiting { id, task: None, place });
    }
    assert_eq!(take(&mut queues, 9, Now::default()), [0], "a local worker sees no other function");
    let resize = [scope(&["resize"], None)];
    let from = TakeFrom::Elsewhere(&resize);
    assert!(queues.is_due(from, Now::default()) && queues.is_unserved(1));
    queues.serve(resize.to_vec());
    assert!(!queues.is_unserved(1) && queues.is_unserved(2));
    let mut taken = Vec::new();
    queues.pause("a", true);
    queues.take(from, 9, Now::default(), |waiting| taken.push(waiting.id));
    assert!(taken.is_empty(), "a pause is that of all lines of the queue");
    queues.pause("a", false);
    queues.take(from, 9, Now::default(), |waiting| taken.push(waiting.id));
    assert_eq!(taken, [1, 3], "a task of another function is in nobody's way");
}

/// A queue `a` with tasks of two local functions by turns, the first ids before.
fn two_functions(options: StoreOptions, count: u64) -> ReadyQueues {
    let local_functions = Some(["mail".to_owned(), "resize".to_owned()].into_iter().collect());
    let mut queues = ReadyQueues::new(StoreOptions { local_functions, ..options });
    for id in 0..count {
        let place = queues.place("a", if id % 2 == 0 { "mail" } else { "resize" }, 5);
        queues.push(Waiting { id, task: None, place });
    }
    queues
}

/// The ids that workers elsewhere take which run these functions.
fn take_remote(queues: &mut ReadyQueues, functions: &[&str], count: usize, now: Now) -> Vec<TaskId> {
    let scopes = [scope(functions, None)];
    let mut taken = Vec::new();
    queues.take(TakeFrom::Elsewhere(&scopes), count, now, |waiting| taken.push(waiting.id));
    taken
}

#[test]
fn tasks_of_a_local_function_are_for_workers_elsewhere_too() {
    let mut queues = two_functions(options(), 10);
    assert_eq!(take_remote(&mut queues, &["resize"], 2, Now::default()), [1, 3]);
    assert_eq!(take(&mut queues, 3, Now::default()), [0, 2, 4], "the order is that of all functions");
    assert_eq!(take_remote(&mut queues, &["mail", "resize", "pay"], 3, Now::default()), [5, 6, 7]);
    assert_eq!((take(&mut queues, 9, Now::default()), queues.len()), (vec![8, 9], 0));
}

#[test]
fn take_begins_with_the_highest_priority_of_all_functions() {
    let mut queues = two_functions(options(), 4);
    let place = queues.place("a", "resize", 9);
    queues.push(Waiting { id: 7, task: None, place });
    assert_eq!(take(&mut queues, 3, Now::default()), [7, 0, 1]);
    let mut queues = two_functions(StoreOptions { oldest_first_every: 2, ..options() }, 2);
    for id in 10..14 {
        let place = queues.place("a", "resize", 9);
        queues.push(Waiting { id, task: None, place });
    }
    assert_eq!(take(&mut queues, 4, Now::default()), [10, 0, 11, 1], "every second one is the oldest");
}

#[test]
fn rate_of_a_queue_is_that_of_all_workers_together() {
    let rate = Rate { count: 10, per: Duration::from_secs(1) };
    let mut queues =
        two_functions(StoreOptions { rates: BTreeMap::from([("a".into(), rate)]), ..options() }, 9);
    let at = |tenths: u64| Now { steady: Duration::from_millis(100 * tenths), ..Now::default() };
    assert_eq!(take_remote(&mut queues, &["mail"], 9, at(0)), [0]);
    assert!(take(&mut queues, 1, at(0)).is_empty());
    assert_eq!(take(&mut queues, 1, at(1)), [1]);
    assert!(take_remote(&mut queues, &["mail"], 9, at(1)).is_empty());
    let mail = [scope(&["mail"], None)];
    assert_eq!(queues.next_due(TakeFrom::Elsewhere(&mail), at(1)), Some(Duration::from_millis(100)));
}

#[test]
fn news_of_local_functions_are_for_workers_elsewhere_only_while_there_are_any() {
    let mut queues = two_functions(options(), 2);
    assert!(!queues.remote_news(Now::default()).0);
    queues.serve(vec![scope(&["mail"], None)]);
    for (function, is_news) in [("mail", true), ("resize", false)] {
        let place = queues.place("a", function, 5);
        queues.push(Waiting { id: 9, task: None, place });
        assert_eq!(queues.remote_news(Now::default()).0, is_news, "{function}");
    }
}

#[test]
fn queue_without_workers_elsewhere_saves_up_no_turns_with_them() {
    let mut queues = two_functions(options(), 200);
    let place = queues.place("b", "pay", 5);
    (1_000..1_100).for_each(|id| queues.push(Waiting { id, task: None, place }));
    queues.serve(vec![scope(&["pay"], None)]);
    take_remote(&mut queues, &["pay"], 50, Now::default());
    queues.serve(vec![scope(&["mail", "pay"], None)]);
    let taken = take_remote(&mut queues, &["mail", "pay"], 20, Now::default());
    assert_eq!(count_from(1_000, &taken), 10, "{taken:?}");
}

/// The tasks of these functions, in these queues.
fn scope(functions: &[&str], queues: Option<&[&str]>) -> RemoteScope {
    let functions = functions.iter().map(|name| Arc::from(*name)).collect();
    RemoteScope { functions, queues: queues.map(|names| names.iter().map(|name| Box::from(*name)).collect()) }
}

#[test]
fn take_within_a_scope_leaves_out_other_queues() {
    let local_functions = Some(["any".to_owned()].into_iter().collect());
    let mut queues = ReadyQueues::new(StoreOptions { local_functions, ..options() });
    let mails = [scope(&["resize"], Some(&["mail"]))];
    queues.serve(mails.to_vec());
    for (queue, id) in [("images", 1), ("mail", 2)] {
        let place = queues.place(queue, "resize", 0);
        queues.push(Waiting { id, task: None, place });
    }
    assert!(queues.is_unserved(1) && !queues.is_unserved(2));
    let mut taken = Vec::new();
    queues.take(TakeFrom::Elsewhere(&mails), 9, Now::default(), |waiting| taken.push(waiting.id));
    assert_eq!(taken, [2]);
    assert!(!queues.is_due(TakeFrom::Elsewhere(&mails), Now::default()));
}
