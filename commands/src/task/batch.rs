//! `task:batch`: uploads a file of tasks as one batch, and follows it to its end.

mod bad_lines;
mod columns;
mod csv;
mod ndjson;
mod piece;
pub(super) mod progress_bar;
mod quotes;
mod reader;
mod upload;

use std::ffi::OsStr;
use std::path::PathBuf;

use framework::client::Request;
use framework::prelude::*;
use framework::server::ServerSettings;
use serde_json::json;
use serde_json::value::RawValue;

use self::bad_lines::BadLines;
use self::piece::Form;
use self::progress_bar::{BatchDisplay, RETRY_TIME};
use self::upload::Upload;
use crate::format::count_tasks;
use crate::options::server_address::ServerAddress;

/// Send a file of tasks as one batch
///
/// Each line of the file is the arguments of one task as JSON (NDJSON); or each row of a CSV file, whose
/// header names the arguments. A quote that is not closed is an error, and text behind a closing quote too.
/// No task runs before the whole file is accepted. Then the progress is shown until the batch has ended; the
/// exit code is 0 if all of its tasks are done.
#[derive(Args, Command)]
#[command(name = "task:batch")]
struct Batch {
    /// The function to call for each line
    function: String,
    /// The file, or `-` for standard input
    file: PathBuf,
    /// Read the file as CSV [default: if its name ends in .csv or .tsv]
    #[arg(long)]
    csv: bool,
    /// Separator of the columns of a CSV file: one character, or `tab` [default: a comma; a tab in a .tsv
    /// file]
    #[arg(long, value_name = "CHARACTER", value_parser = parse_separator)]
    separator: Option<u8>,
    /// Name of the batch [default: the name of the file]
    #[arg(long)]
    name: Option<String>,
    /// Completion callback: a function to call with the counts once the last task has ended
    #[arg(long, value_name = "FUNCTION")]
    then: Option<String>,
    /// Queue [default: the function's own]
    #[arg(long)]
    queue: Option<String>,
    /// Priority, 0 to 9; 9 runs first
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Skip invalid lines instead of cancelling the batch
    #[arg(long)]
    skip_bad: bool,
    /// Print the id of the batch once it is accepted, and do not wait for it
    #[arg(long)]
    detach: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

/// The size of a request without its arguments, at most.
const ENVELOPE: usize = 1024;

impl Execute for Batch {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let settings: ServerSettings = app.config()?.section()?;
        let mut interrupt = progress_bar::catch_interrupt()?;
        let pieces = reader::read(Form {
            path: self.file.clone(),
            separator: self.separator(),
            limit: settings.package_max_length.saturating_sub(ENVELOPE),
            handler: framework::functions::collect(app.config()?)?.find(&self.function).ok(),
        });
        let upload = Upload {
            client: self.server.connect(app).await?,
            pieces,
            request: self.request(),
            name: self.name(),
            then: self.then.clone(),
            skip_bad: self.skip_bad,
        };
        let sealed = upload.run(&mut interrupt, output).await?;
        sealed.bad.warn(output);
        if self.detach {
            return self.print_detached(sealed.batch, sealed.accepted, &sealed.bad, output);
        }
        output.note(format_args!("batch {}: {} accepted", sealed.batch, count_tasks(sealed.accepted)));
        let client = self.server.client_for(app, RETRY_TIME)?;
        let display = BatchDisplay { batch: sealed.batch, json: self.json, events: false };
        display.run(&client, &mut interrupt, output).await
    }
}

impl Batch {
    /// The separator of the columns; `None` for JSON lines.
    fn separator(&self) -> Option<u8> {
        let ends_in =
            |ending: &str| self.file.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending));
        let by_name = match (ends_in("tsv"), self.csv || ends_in("csv")) {
            (true, _) => Some(b'\t'),
            (false, is_csv) => is_csv.then_some(b','),
        };
        self.separator.or(by_name)
    }

    fn request(&self) -> Request {
        let mut request = Request::new(Some(self.function.clone()), RawValue::NULL.to_owned());
        request.queue.clone_from(&self.queue);
        request.priority = self.priority;
        request
    }

    fn name(&self) -> String {
        let file = self.file.file_name().filter(|_| self.file.as_os_str() != "-").and_then(OsStr::to_str);
        self.name.clone().unwrap_or_else(|| file.unwrap_or("standard input").to_owned())
    }

    fn print_detached(&self, batch: u64, accepted: u64, bad: &BadLines, output: &mut Output) -> Result<()> {
        if self.json {
            output.json(&json!({ "batch_id": batch, "total": accepted, "skipped": bad.count }))?;
        } else {
            output.line(batch);
        }
        Ok(())
    }
}

fn parse_separator(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [b'"' | b'\n' | b'\r'] => Err("it cannot be a quote or a line end".to_owned()),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("it must be one ASCII character, or tab".to_owned()),
    }
}
