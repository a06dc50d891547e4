//! `queue:repair`: saves what can be read of a damaged file.

use framework::prelude::*;
use framework::store::sqlite::{LostRows, QueueLocked, RepairReport, repair};
use serde_json::{Value, json};

use super::queue_file::QueuePath;

/// Save what can be read of a damaged queue into a new file
///
/// The old file is kept beside it. What could not be read is listed; the exit code is 1 if there was something. The
/// server must not run.
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
        let repaired = repair(&path).map_err(|error| match error.downcast_ref::<QueueLocked>() {
            Some(in_use) => Exit::AlreadyRunning.error(format!("{in_use}; stop it first")),
            None => error,
        })?;
        match self.json {
            true => output.json(&as_json(&repaired))?,
            false => print(&repaired, output),
        }
        output.note(format_args!("{} is new; the old file is {}.", path.display(), repaired.kept.display()));
        match repaired.unread.is_empty() {
            true => Ok(()),
            false => Err(Exit::Failed.error("some rows could not be read, and are only in the old file")),
        }
    }
}

fn print(repaired: &RepairReport, output: &mut Output) {
    let rows: Vec<_> =
        repaired.saved.iter().map(|(table, rows)| [(*table).to_owned(), rows.to_string()]).collect();
    output.table(["table", "rows saved"], &rows);
    if repaired.unread.is_empty() {
        return;
    }
    output.line("");
    let number = |number: i64| if number == i64::MAX { "the last".to_owned() } else { number.to_string() };
    let row = |LostRows { table, from, to, error }: &LostRows| {
        [(*table).to_owned(), number(*from), number(*to), error.clone()]
    };
    let rows: Vec<_> = repaired.unread.iter().map(row).collect();
    output.table(["not read from", "from", "to", "because"], &rows);
}

fn as_json(repaired: &RepairReport) -> Value {
    let saved = repaired.saved.iter().map(|(table, rows)| ((*table).to_owned(), json!(rows)));
    let unread = |LostRows { table, from, to, error }: &LostRows| json!({ "table": table, "from": from, "to": to, "error": error });
    json!({
        "kept": repaired.kept,
        "saved": saved.collect::<serde_json::Map<_, _>>(),
        "unread": repaired.unread.iter().map(unread).collect::<Vec<_>>(),
    })
}
