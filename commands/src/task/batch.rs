//! `task:batch`: hands over a file of tasks as one batch, and follows it to its end.

mod bad_lines;
mod columns;
pub(super) mod progress_bar;
mod ndjson;
mod csv_rows;
mod reader;
mod upload;

use std::ffi::OsStr;
use std::path::PathBuf;

use framework::client::Request;
use framework::prelude::*;
use framework::server::ServerSettings;
use framework::task::Handlers;
use serde_json::json;
use serde_json::value::RawValue;

use self::bad_lines::BadLines;
use self::progress_bar::{Follow, PATIENCE};
use self::reader::Form;
use self::upload::Upload;
use super::server_address::ServerAddress;
use crate::format::count_tasks;

/// Hand over a file of tasks as one batch
///
/// Each line of the file is the arguments of one task, as JSON; or each row, under a header of their names, if it is a
/// CSV file. Nothing runs before the whole file is accepted. Then the progress is shown until all of it has ended, and
/// the exit code is 0 if everything is done.
#[derive(Args, Command)]
#[command(name = "task:batch")]
struct Batch {
    /// The function that runs each of them
    function: String,
    /// The file, or `-` for the standard input
    file: PathBuf,
    /// The file is CSV [default: if its name ends in .csv]
    #[arg(long)]
    csv: bool,
    /// What the batch is called [default: the name of the file]
    #[arg(long)]
    name: Option<String>,
    /// The function that runs once when the last task has ended, and is told the counts
    #[arg(long, value_name = "FUNCTION")]
    then: Option<String>,
    /// Another queue than the function's own
    #[arg(long)]
    queue: Option<String>,
    /// 0 to 9; 9 is taken first
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Leave out lines that are no tasks, instead of giving up
    #[arg(long)]
    skip_bad: bool,
    /// Print the id of the batch once it is accepted, and do not wait for its end
    #[arg(long)]
    detach: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

/// What a request has around its arguments, at most.
const ENVELOPE: usize = 1024;

impl Execute for Batch {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let settings: ServerSettings = app.config()?.section()?;
        let mut interrupt = progress_bar::listen()?;
        let pieces = reader::read(Form {
            path: self.file.clone(),
            csv: self.csv || self.file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")),
            limit: settings.package_max_length.saturating_sub(ENVELOPE),
            handler: Handlers::collect()?.find(&self.function).ok(),
        })?;
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
        let client = self.server.client_for(app, PATIENCE)?;
        Follow { batch: sealed.batch, json: self.json }.run(&client, &mut interrupt, output).await
    }
}

impl Batch {
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
        match self.json {
            true => output.json(&json!({ "batch": batch, "total": accepted, "left_out": bad.count }))?,
            false => output.line(batch),
        }
        Ok(())
    }
}
