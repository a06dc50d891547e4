//! The failed tasks by their causes, and what a change of many tasks would change.

use framework_protocol::task::TaskId;
use framework_protocol::views::{ChangePreview, PreviewedTask, TaskSelector};
use framework_server::store::PlannedSelection;
use framework_server::store::durable::journal::FailedTask;

use crate::error::CallError;
use crate::link::{Call, Link};
use crate::reads::accepted_ms;
use crate::recovery::{id, number};

/// The number of failed tasks that are read at a time.
const PAGE: i64 = 2_000;

/// Calls this with each failed task, the newest first, as long as it returns `true`.
pub(crate) async fn each_failed(
    link: &Link,
    mut call: impl FnMut(&FailedTask) -> bool,
) -> Result<(), CallError> {
    let mut before = i64::MAX;
    loop {
        let page = Call::new(
            "SELECT e.task, t.queue, t.function, coalesce(e.error, ''), e.ended_ms FROM ends e \
             JOIN tasks t ON t.id = e.task WHERE e.state = 'failed' AND e.task < $1 \
             ORDER BY e.task DESC LIMIT $2",
        );
        let rows = link.query(page.with(before).with(PAGE)).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        before = last.get(0);
        for row in &rows {
            let (queue, function, error) = (row.get(1), row.get(2), row.get(3));
            if !call(&FailedTask { id: id(row, 0), queue, function, error, ended_ms: id(row, 4) }) {
                return Ok(());
            }
        }
    }
}

/// The tasks that a change would change. Those of a flush are not in the database.
pub(crate) async fn preview(link: &Link, planned: &PlannedSelection) -> Result<ChangePreview, CallError> {
    let (selector, with_done) = match planned {
        PlannedSelection::Flush { .. } => return Ok(ChangePreview::default()),
        PlannedSelection::Cancel(batch) => {
            let open = Call::new(
                "SELECT count(*), min(t.id), max(t.id) FROM tasks t LEFT JOIN ends e ON e.task = t.id \
                 WHERE t.batch = $1 AND e.task IS NULL",
            );
            return counted(link, open.with(*batch as i64)).await;
        }
        PlannedSelection::Retry(selector) => (selector, false),
        PlannedSelection::Forget(selector) => (selector, true),
    };
    match selector {
        TaskSelector::Task(task) => {
            let ended = Call::new(
                "SELECT count(*), min(t.id), max(t.id) FROM tasks t JOIN ends e ON e.task = t.id \
                 WHERE t.id = $1 AND ($2 OR e.state <> 'done')",
            );
            counted(link, ended.with(*task as i64).with(with_done)).await
        }
        TaskSelector::Batch(batch) => {
            let ended = Call::new(
                "SELECT count(*), min(t.id), max(t.id) FROM tasks t JOIN ends e ON e.task = t.id \
                 WHERE t.batch = $1 AND ($2 OR e.state <> 'done')",
            );
            counted(link, ended.with(*batch as i64).with(with_done)).await
        }
        TaskSelector::Failed(filter) => {
            let (mut count, mut first, mut last) = (0, None, None);
            each_failed(link, |task| {
                if filter.selects(task.queue, task.function, task.error) {
                    count += 1;
                    // The newest ones come first.
                    (first, last) = (Some(task.id), last.or(Some(task.id)));
                }
                true
            })
            .await?;
            of_ids(link, count, first, last).await
        }
    }
}

async fn counted(link: &Link, call: Call<'_>) -> Result<ChangePreview, CallError> {
    let rows = link.query(call).await?;
    let Some(row) = rows.first() else { return Ok(ChangePreview::default()) };
    of_ids(link, id(row, 0), number(row, 1), number(row, 2)).await
}

async fn of_ids(
    link: &Link,
    count: u64,
    first: Option<TaskId>,
    last: Option<TaskId>,
) -> Result<ChangePreview, CallError> {
    let ids: Vec<_> = first.into_iter().chain(last).collect();
    let accepted = accepted_ms(link, &ids).await?;
    let task =
        |id: Option<TaskId>| id.and_then(|id| Some(PreviewedTask { id, accepted_ms: *accepted.get(&id)? }));
    Ok(ChangePreview { tasks: count, oldest: task(first), newest: task(last) })
}
