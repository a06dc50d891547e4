//! `task:failures`: the failed tasks by their causes.

use framework::prelude::*;
use framework::views::{FailureCause, FailureDay, FailureFilter, FailureGroup, FailureReport};

use crate::format::{count_tasks, format_timestamp, truncate};
use crate::options::server_address::{ServerAddress, exit_error};

/// The width of an error in the table.
const PATTERN_WIDTH: usize = 70;

/// Show the failed tasks by their causes, most frequent first
///
/// Failed tasks of one function belong together when their errors differ only in numbers, ids, addresses and
/// quoted texts. With --cause, one cause is shown in full: the last error, and the failures of each day.
///
/// ```console
/// ./think task:failures --queue mail
/// ./think task:failures --cause 0123456789abcdef
/// ./think task:retry --cause 0123456789abcdef --dry-run
/// ./think task:retry --cause 0123456789abcdef
/// ```
#[derive(Args, Command)]
#[command(name = "task:failures")]
struct Failures {
    /// Only failed tasks of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only failed tasks of this function
    #[arg(short, long)]
    function: Option<String>,
    /// Only this cause, in full
    #[arg(short, long)]
    cause: Option<FailureCause>,
    /// Maximum number of causes
    #[arg(short, long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

impl Execute for Failures {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let client = self.server.connect(app).await?;
        let filter = FailureFilter { queue: self.queue, function: self.function, cause: self.cause };
        let report = client.failures(&filter, self.limit.into()).await.map_err(exit_error)?;
        if self.json {
            return Ok(output.json(&report)?);
        }
        match (&report.groups[..], self.cause) {
            ([], _) => output.note("No failed tasks."),
            (groups, Some(_)) => groups.iter().for_each(|group| print_whole(group, output)),
            (groups, None) => print_table(groups, output),
        }
        print_notes(&report, output);
        Ok(())
    }
}

fn print_table(groups: &[FailureGroup], output: &mut Output) {
    let rows: Vec<_> = groups
        .iter()
        .map(|group| {
            [
                group.count.to_string(),
                group.cause.to_string(),
                group.function.clone(),
                format_timestamp(group.first_ms),
                format_timestamp(group.last_ms),
                group.last_task.to_string(),
                truncate(&group.pattern, PATTERN_WIDTH),
            ]
        })
        .collect();
    output.table(["tasks", "cause", "function", "first", "last", "last id", "error"], &rows);
}

fn print_whole(group: &FailureGroup, output: &mut Output) {
    let entries = [
        ("cause", group.cause.to_string()),
        ("function", group.function.clone()),
        ("tasks", group.count.to_string()),
        ("first", format_timestamp(group.first_ms)),
        ("last", format!("{}, task {}", format_timestamp(group.last_ms), group.last_task)),
        ("pattern", group.pattern.clone()),
        ("error", group.error.clone()),
    ];
    output.definitions(&entries.map(|(name, value)| (name.to_owned(), value)));
    let day = |day: &FailureDay| [format_timestamp(day.at_ms)[..10].to_owned(), day.count.to_string()];
    output.line("");
    output.table(["day", "tasks"], &group.days.iter().map(day).collect::<Vec<_>>());
}

/// Says what the table does not show.
fn print_notes(report: &FailureReport, output: &mut Output) {
    if report.unlisted > 0 {
        let unlisted = count_tasks(report.unlisted);
        output.note(format_args!("{unlisted} failed for other causes; --limit shows more of them"));
    }
    if !report.is_complete {
        output.note("Only the newest failed tasks were looked at: there are too many for one look.");
    }
}
