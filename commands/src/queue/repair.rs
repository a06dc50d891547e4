//! `queue:repair`: recovers what can be read of a damaged queue file.

use framework::output::escape_control;
use framework::prelude::*;
use framework::store::sqlite::{LostRows, QueueLocked, RepairReport, repair};
use serde_json::{Value, json};

use crate::options::queue_file::QueuePath;

/// Repair a damaged queue file
///
/// Copies what can be read to a new file, and keeps the old one beside it. Rows that cannot be read, and
/// tasks and functions that are damaged all the same, are listed, and the exit code is 1 if there are any.
/// The server must not be running.
#[derive(Args, Command)]
#[command(name = "queue:repair")]
struct Repair {
    #[command(flatten)]
    queue: QueuePath,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Execute for Repair {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let path = self.queue.resolve(app)?;
        let report = repair(&path).map_err(|error| match error.downcast_ref::<QueueLocked>() {
            Some(locked) => Exit::AlreadyRunning.error(format!("{locked}; stop it first")),
            None => error,
        })?;
        if self.json {
            output.json(&as_json(&report))?;
        } else {
            print(&report, output);
        }
        output.note(format_args!("Wrote {}; the old file is {}.", path.display(), report.kept.display()));
        if !report.unread.is_empty() {
            return Err(Exit::Failed.error("some rows could not be read, and are only in the old file"));
        }
        if !report.findings.is_empty() {
            return Err(Exit::Failed
                .error("what is named above stays damaged; the server sets it aside, tasks as failed"));
        }
        Ok(())
    }
}

fn print(report: &RepairReport, output: &mut Output) {
    let rows: Vec<_> =
        report.saved.iter().map(|(table, rows)| [(*table).to_owned(), rows.to_string()]).collect();
    output.table(["table", "rows saved"], &rows);
    report.findings.iter().for_each(|finding| output.line(escape_control(finding)));
    if report.unread.is_empty() {
        return;
    }
    output.line("");
    let number = |number: i64| if number == i64::MAX { "the last".to_owned() } else { number.to_string() };
    let row = |LostRows { table, from, to, error }: &LostRows| {
        [(*table).to_owned(), number(*from), number(*to), error.clone()]
    };
    let rows: Vec<_> = report.unread.iter().map(row).collect();
    output.table(["unreadable", "from", "to", "error"], &rows);
}

fn as_json(report: &RepairReport) -> Value {
    let saved = report.saved.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows)));
    let unread = |LostRows { table, from, to, error }: &LostRows| json!({ "table": table, "from": from, "to": to, "error": error });
    json!({
        "kept": report.kept,
        "saved": saved.collect::<serde_json::Map<_, _>>(),
        "findings": report.findings,
        "unread": report.unread.iter().map(unread).collect::<Vec<_>>(),
    })
}
