//! What a repair keeps.

use std::path::Path;

use framework_protocol::task::LogLine;
use framework_protocol::views::ScheduleNote;
use rusqlite::Connection;

use super::*;
use crate::store::sqlite::repair;

const TABLES: [&str; 10] =
    ["tasks", "ends", "retries", "cancels", "notes", "batches", "attempts", "keys", "queues", "schedules"];

fn keyed() -> NewTask {
    let mut task = unknown();
    task.extra_mut().key = Some("once".into());
    task
}

/// Every row of every table, as text.
fn rows(file: &Path) -> Vec<(&'static str, Vec<String>)> {
    let file = Connection::open(file).unwrap();
    let rows = |table: &'static str| {
        let mut read = file.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = read.column_count();
        let row = |row: &rusqlite::Row| {
            let value = |column| row.get_ref(column).map(|value| format!("{value:?}"));
            Ok((0..columns).map(value).collect::<Result<Vec<_>, _>>()?.join(", "))
        };
        let mut rows: Vec<_> = read.query_map([], row).unwrap().map(Result::unwrap).collect();
        rows.sort_unstable();
        (table, rows)
    };
    TABLES.into_iter().map(rows).collect()
}

/// Leaves a row in each table.
async fn fill(store: &dyn Store) {
    let note = ScheduleNote { seen_ms: Some(1), fired_ms: Some(1), task: Some(0), paused: Some(true) };
    let (name, function) = ("import".to_owned(), "any".to_owned());
    for command in [
        AdminCommand::Schedule { name: "hourly".into(), note },
        AdminCommand::Pause { queue: "default".into(), paused: true },
        AdminCommand::OpenBatch { name, function, then: None },
    ] {
        store.apply(command).await.unwrap();
    }
    let other = |queue: &str| NewTask { queue: queue.into(), ..unknown() };
    store.push(vec![keyed(), other("failing"), other("cancelled"), other("done")]).await;
    for lease in store.take(0, 3).await {
        let disposition = match &*lease.task.new.queue {
            "failing" => Disposition::Retry { pause: Duration::ZERO, error: "no".into() },
            "cancelled" => {
                let task = TaskSelector::Task(lease.task.id);
                store.apply(AdminCommand::Cancel(task)).await.unwrap();
                continue;
            }
            _ => {
                let line = LogLine { at_ms: 1, attempt: 1, text: "some".into() };
                lease.task.update_progress(|log| log.log.push_back(line));
                Disposition::Done("1".into())
            }
        };
        let (task, token, ran) = (lease.task.id, lease.token, Duration::ZERO);
        let settlement =
            Settlement { task, token, disposition, started_ms: 0, ran, worker: None, follow: Vec::new() };
        assert_eq!(store.settle(vec![settlement]).await, [true]);
    }
}

#[tokio::test]
async fn repair_of_a_sound_file_keeps_every_row() {
    let folder = Folder::new("repair");
    let file = folder.0.join("queue.db");
    fill(&folder.open()).await;
    // Unlike what a repair makes of a task whose key is lost.
    let sql = "UPDATE keys SET until_ms = until_ms + 1";
    Connection::open(&file).unwrap().execute(sql, []).unwrap();
    let before = rows(&file);
    for (table, rows) in &before {
        assert!(!rows.is_empty(), "no row of {table} is tried");
    }
    let report = repair(&file).unwrap();
    assert!(report.unread.is_empty() && report.findings.is_empty(), "{report:?}");
    assert_eq!(rows(&file), before);
}

#[tokio::test]
async fn repair_takes_keys_that_are_lost_from_their_tasks() {
    let folder = Folder::new("repair-keys");
    let file = folder.0.join("queue.db");
    let first = folder.open().push(vec![keyed()]).await[0].clone().unwrap().id;
    Connection::open(&file).unwrap().execute("DELETE FROM keys", []).unwrap();
    repair(&file).unwrap();
    let again = folder.open().push(vec![keyed()]).await[0].clone().unwrap();
    assert_eq!((again.id, again.is_new()), (first, false));
}
