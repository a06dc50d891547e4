//! The statements that write many rows at once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use framework_protocol::task::{NewTask, TaskId, TaskRecord};
use framework_protocol::views::{Ledger, State};
use framework_server::store::durable::count_in;
use framework_server::store::durable::journal::{
    AttemptRun, EndRecord, FIRST_ATTEMPTS, LAST_ATTEMPTS, OptionsEncoder, ms_of,
};

use crate::link::Call;

/// The numbers of attempts behind a task, and the pause in which it is.
#[derive(Clone, Copy)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
    pub(crate) failures: u32,
    pub(crate) crashes: u32,
    pub(crate) due_ms: Option<u64>,
    pub(crate) pause_ms: u64,
}

impl Retry {
    pub(crate) fn of(task: &TaskRecord, attempts: u32) -> Self {
        let (failures, crashes) = (task.failures(), task.crashes());
        Self { attempts, failures, crashes, due_ms: None, pause_ms: 0 }
    }
}

pub(crate) fn insert_tasks<'a>(tasks: &[(TaskId, &'a NewTask)], now_ms: u64) -> Option<Call<'a>> {
    if tasks.is_empty() {
        return None;
    }
    let mut encoder = OptionsEncoder::default();
    let options: Vec<_> =
        tasks.iter().map(|(_, new)| encoder.encode(new, now_ms).map(str::to_owned)).collect();
    let column = |of: fn(&'a NewTask) -> &'a str| tasks.iter().map(|(_, new)| of(new)).collect::<Vec<_>>();
    let insert = Call::new(
        "INSERT INTO tasks SELECT id, function, queue, priority, $9::bigint, due_ms, batch, options, args \
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[], \
         $7::text[], $8::text[]) t(id, function, queue, priority, due_ms, batch, options, args)",
    );
    let due_ms = |new: &NewTask| ms_of(new.due, now_ms).map(|due_ms| due_ms as i64);
    Some(
        insert
            .with(tasks.iter().map(|(id, _)| *id as i64).collect::<Vec<_>>())
            .with(column(|new| &new.function))
            .with(column(|new| &new.queue))
            .with(tasks.iter().map(|(_, new)| i16::from(new.priority)).collect::<Vec<_>>())
            .with(tasks.iter().map(|(_, new)| due_ms(new)).collect::<Vec<_>>())
            .with(tasks.iter().map(|(_, new)| new.batch().map(|id| id as i64)).collect::<Vec<_>>())
            .with(options)
            // Arguments were parsed as JSON, which is text.
            .with(column(|new| std::str::from_utf8(&new.args).unwrap_or("null")))
            .with(now_ms as i64),
    )
}

pub(crate) fn insert_tags<'a>(tasks: &[(TaskId, &'a NewTask)]) -> Option<Call<'a>> {
    let (mut names, mut values, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for (id, new) in tasks {
        for (name, value) in new.extra.iter().flat_map(|extra| extra.tags.iter()) {
            names.push(name);
            values.push(value);
            ids.push(*id as i64);
        }
    }
    let insert = Call::new("INSERT INTO tags SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])");
    (!ids.is_empty()).then(|| insert.with(names).with(values).with(ids))
}

/// `until_ms` is the end of their window.
pub(crate) fn insert_keys<'a>(keys: &[(&'a NewTask, &'a str, TaskId)], until_ms: u64) -> Option<Call<'a>> {
    let insert = Call::new(
        "INSERT INTO keys SELECT function, key, task, $4::bigint \
         FROM unnest($1::text[], $2::bytea[], $3::bigint[]) k(function, key, task) \
         ON CONFLICT (function, key) DO UPDATE SET task = excluded.task, until_ms = excluded.until_ms",
    );
    (!keys.is_empty()).then(|| {
        insert
            .with(keys.iter().map(|(new, ..)| &*new.function).collect::<Vec<_>>())
            .with(keys.iter().map(|(_, key, _)| key.as_bytes()).collect::<Vec<_>>())
            .with(keys.iter().map(|(.., id)| *id as i64).collect::<Vec<_>>())
            .with(until_ms as i64)
    })
}

pub(crate) fn insert_ends<'a>(ends: &[&'a EndRecord]) -> Option<Call<'a>> {
    if ends.is_empty() {
        return None;
    }
    let run = |of: fn(&'a AttemptRun) -> Option<i64>| {
        ends.iter().map(|ended| ended.run.as_ref().and_then(of)).collect::<Vec<_>>()
    };
    let insert = Call::new(
        "INSERT INTO ends SELECT task, state, ended_ms, attempt, started_ms, ran_us, \
         CASE WHEN attempt IS NULL THEN NULL ELSE $7::int END, result, error, worker \
         FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], \
         $8::text[], $9::text[], $10::text[]) \
         e(task, state, ended_ms, attempt, started_ms, ran_us, result, error, worker)",
    );
    let result = |ended: &&'a EndRecord| {
        let result = ended.outcome.as_ref().ok().filter(|result| &result[..] != b"null");
        result.map(|result| clean(String::from_utf8_lossy(result)))
    };
    let error = |ended: &&'a EndRecord| ended.outcome.as_ref().err().map(|error| clean(Cow::from(error)));
    let worker = |ended: &&'a EndRecord| {
        let worker = ended.run.as_ref().and_then(|run| run.worker.as_deref());
        worker.map(|worker| clean(Cow::from(worker)))
    };
    Some(
        insert
            .with(ends.iter().map(|ended| ended.task.id as i64).collect::<Vec<_>>())
            .with(ends.iter().map(|ended| ended.state.name()).collect::<Vec<_>>())
            .with(ends.iter().map(|ended| ended.at_ms as i64).collect::<Vec<_>>())
            .with(run(|run| Some(i64::from(run.number))))
            .with(run(|run| Some(run.started_ms as i64)))
            .with(run(AttemptRun::ran_us))
            .with(pid())
            .with(ends.iter().map(result).collect::<Vec<_>>())
            .with(ends.iter().map(error).collect::<Vec<_>>())
            .with(ends.iter().map(worker).collect::<Vec<_>>()),
    )
}

/// Adds attempts that others follow, and deletes those in the middle of a long history.
pub(crate) fn insert_attempts<'a>(
    attempts: &BTreeMap<(TaskId, u32), (&'a AttemptRun, &'a str)>,
) -> Vec<Call<'a>> {
    if attempts.is_empty() {
        return Vec::new();
    }
    let tasks: Vec<_> = attempts.keys().map(|(task, _)| *task as i64).collect();
    let numbers: Vec<_> = attempts.keys().map(|(_, number)| number_of(*number)).collect();
    let insert = Call::new(
        "INSERT INTO attempts SELECT task, number, started_ms, ran_us, $5::int, error, worker \
         FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $6::text[], $7::text[]) \
         a(task, number, started_ms, ran_us, error, worker) \
         ON CONFLICT (task, number) DO UPDATE SET started_ms = excluded.started_ms, \
         ran_us = excluded.ran_us, pid = excluded.pid, error = excluded.error, worker = excluded.worker",
    );
    let runs = || attempts.values().map(|(run, _)| *run);
    let worker = |run: &'a AttemptRun| run.worker.as_deref().map(|worker| clean(Cow::from(worker)));
    let insert = insert
        .with(tasks.clone())
        .with(numbers.clone())
        .with(runs().map(|run| run.started_ms as i64).collect::<Vec<_>>())
        .with(runs().map(AttemptRun::ran_us).collect::<Vec<_>>())
        .with(pid())
        .with(attempts.values().map(|(_, error)| clean(Cow::from(*error))).collect::<Vec<_>>())
        .with(runs().map(worker).collect::<Vec<_>>());
    std::iter::once(insert).chain(bound_attempts(tasks, numbers)).collect()
}

/// Deletes the attempts in the middle of a long history, of which these are the last ones.
pub(crate) fn bound_attempts<'a>(tasks: Vec<i64>, last: Vec<i32>) -> Option<Call<'a>> {
    let (first, kept) = (FIRST_ATTEMPTS as i32, LAST_ATTEMPTS as i32);
    let delete = Call::new(
        "DELETE FROM attempts a USING unnest($1::bigint[], $2::int[]) l(task, last) \
         WHERE a.task = l.task AND a.number > $3 AND a.number <= l.last - $4",
    );
    let is_long = last.iter().any(|last| *last > first + kept);
    is_long.then(|| delete.with(tasks).with(last).with(first).with(kept))
}

pub(crate) fn insert_retries<'a>(retries: &BTreeMap<TaskId, Retry>) -> Option<Call<'a>> {
    let insert = Call::new(
        "INSERT INTO retries SELECT * FROM unnest($1::bigint[], $2::int[], $3::int[], $4::int[], \
         $5::bigint[], $6::bigint[]) ON CONFLICT (task) DO UPDATE SET attempts = excluded.attempts, \
         failures = excluded.failures, crashes = excluded.crashes, due_ms = excluded.due_ms, \
         pause_ms = excluded.pause_ms",
    );
    let counter =
        |of: fn(&Retry) -> u32| retries.values().map(|retry| number_of(of(retry))).collect::<Vec<_>>();
    (!retries.is_empty()).then(|| {
        insert
            .with(retries.keys().map(|id| *id as i64).collect::<Vec<_>>())
            .with(counter(|retry| retry.attempts))
            .with(counter(|retry| retry.failures))
            .with(counter(|retry| retry.crashes))
            .with(retries.values().map(|retry| retry.due_ms.map(|at| at as i64)).collect::<Vec<_>>())
            .with(retries.values().map(|retry| retry.pause_ms as i64).collect::<Vec<_>>())
    })
}

pub(crate) fn revise<'a>(revised: &BTreeMap<TaskId, &'a TaskRecord>) -> Option<Call<'a>> {
    let update = Call::new(
        "UPDATE tasks t SET priority = r.priority, args = r.args, due_ms = NULL \
         FROM unnest($1::bigint[], $2::smallint[], $3::text[]) r(id, priority, args) WHERE t.id = r.id",
    );
    let args = |task: &&'a TaskRecord| std::str::from_utf8(&task.new.args).unwrap_or("null");
    (!revised.is_empty()).then(|| {
        update
            .with(revised.keys().map(|id| *id as i64).collect::<Vec<_>>())
            .with(revised.values().map(|task| i16::from(task.new.priority)).collect::<Vec<_>>())
            .with(revised.values().map(args).collect::<Vec<_>>())
    })
}

/// Deletes all that is kept of tasks, and counts those that have ended.
pub(crate) fn delete<'a>(tasks: &[(TaskId, Option<State>)], next_id: TaskId) -> Vec<Call<'a>> {
    if tasks.is_empty() {
        return Vec::new();
    }
    let ids: Vec<_> = tasks.iter().map(|(id, _)| *id as i64).collect();
    let mut ended = Ledger::default();
    tasks.iter().filter_map(|(_, state)| *state).for_each(|state| count_in(&mut ended, state));
    let deletions = [
        "DELETE FROM tasks WHERE id = ANY($1)",
        "DELETE FROM ends WHERE task = ANY($1)",
        "DELETE FROM attempts WHERE task = ANY($1)",
        "DELETE FROM retries WHERE task = ANY($1)",
        "DELETE FROM notes WHERE task = ANY($1)",
        "DELETE FROM cancels WHERE task = ANY($1)",
        "DELETE FROM keys WHERE task = ANY($1)",
        "DELETE FROM tags WHERE task = ANY($1)",
    ];
    let mut calls: Vec<_> = deletions.map(|sql| Call::new(sql).with(ids.clone())).into();
    let count = Call::new("INSERT INTO ledger VALUES ($1, $2, $3, $4, $5)").with(next_id as i64);
    let counts = [ended.done, ended.failed, ended.cancelled, ended.expired];
    calls.push(counts.into_iter().fold(count, |count, number| count.with(number as i64)));
    calls
}

fn pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

fn number_of(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A text without the one character that the database does not take.
pub(crate) fn clean(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }
}
