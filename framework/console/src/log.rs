//! Logs: one line per event, to stderr or to a file, as text or as JSON.
//!
//! [`app_log!`](crate::app_log) writes lines of the application, such as `Client: Connect.`; in text on
//! stderr they have no time and level. An outcome is a line of the server about a task that has ended. Lines
//! that a handler logs carry the id of its task. Control characters are escaped: an event is always one line.

mod buffer;
mod file;
mod json;
mod outcome_lines;
mod panic_hook;
mod rotation;
mod task_scope;
mod text;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use buffer::{ConsoleWriter, LogBuffer, WriterThread};
use clap::ValueEnum;
use file::LogFile;
use json::Json;
pub use outcome_lines::{EndedTask, outcomes};
pub use panic_hook::{PanicReport, capture_panics, log_panics, take_panic};
pub use rotation::Rotation;
use serde::{Deserialize, Serialize};
pub use task_scope::{TaskScope, with_task};
use text::Text;
#[doc(hidden)]
pub use tracing;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt as lines};

use crate::output::NoteWriter;

/// The target of the application's lines.
pub const APP_LOG: &str = "app_log";

/// Logs a line of the application: `app_log!("message: {text} from Client: {number}")`. Costs nothing while
/// `app_log` is off.
#[macro_export]
macro_rules! app_log {
    ($($message:tt)+) => { $crate::log::tracing::info!(target: $crate::log::APP_LOG, $($message)+) };
}

/// The logging of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    pub level: Level,
    pub format: Format,
    /// Whether lines of the application are logged; they also need the level `info`.
    pub app_log: bool,
    /// Whether the end of each task is logged; this also needs the level `info`.
    pub outcomes: bool,
    /// The log file, created when missing along with its directory; `None` is stderr.
    pub file: Option<PathBuf>,
    /// The time or size at which the file is rotated.
    pub rotation: Rotation,
    /// The number of rotated files that are kept.
    pub keep: usize,
    /// The sizes of the buffers of the file and of stderr, in bytes; lines beyond them are dropped and
    /// counted.
    pub max_buffer: usize,
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: Format::Text,
            app_log: true,
            outcomes: false,
            file: None,
            rotation: Rotation::None,
            keep: 7,
            max_buffer: 8 << 20,
        }
    }
}

/// The time that the last lines of a file, or of stderr, may take at the end of the process.
const FILE_PATIENCE: Duration = Duration::from_secs(5);
const STDERR_PATIENCE: Duration = Duration::from_secs(1);

/// The log of a process; dropping it writes what is buffered.
///
/// Stderr has a thread of its own, whether the log goes there or to a file, so that a terminal that stands
/// still (Ctrl-S) or a pipe that nobody reads stops nothing else.
#[must_use = "the log is written as long as the guard lives"]
pub struct LogGuard {
    file: Option<WriterThread>,
    console: LogBuffer,
    _console_thread: WriterThread,
}

/// The least severe level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    /// `{"time":..,"level":"INFO","target":"..","message":"..","fields":{..},"spans":[..]}`
    Json,
}

impl Level {
    /// The level with the options of the command line: `-q` leaves errors, `-v` logs at least `debug`, `-vv`
    /// all.
    #[must_use]
    pub fn adjusted(self, quiet: bool, verbose: u8) -> Self {
        match verbose {
            _ if quiet => self.min(Self::Error),
            0 => self,
            1 => self.max(Self::Debug),
            _ => Self::Trace,
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl Logging {
    /// Starts logging for the whole process; once.
    ///
    /// # Errors
    /// When the file cannot be opened, or logging has been started already.
    pub fn start(self) -> Result<LogGuard> {
        let (buffer, file) = self.open()?.unzip();
        let (console, console_thread) = self.buffer(LogFile::stderr(), STDERR_PATIENCE)?;
        let buffer = buffer.unwrap_or_else(|| console.clone());
        let subscriber = self.subscriber(Arc::new(buffer.clone()));
        tracing::subscriber::set_global_default(subscriber).context("starting the log")?;
        if self.outcomes && self.level >= Level::Info {
            outcome_lines::log_outcomes(self.format, buffer);
        }
        Ok(LogGuard { file, console, _console_thread: console_thread })
    }

    fn open(&self) -> Result<Option<(LogBuffer, WriterThread)>> {
        let Some(path) = &self.file else { return Ok(None) };
        self.buffer(LogFile::open(path, self.rotation, self.keep)?, FILE_PATIENCE).map(Some)
    }

    fn buffer(&self, file: LogFile, patience: Duration) -> Result<(LogBuffer, WriterThread)> {
        let format = self.format;
        LogBuffer::open(file, self.max_buffer, patience, move |text| match format {
            Format::Text => text::own_line(text),
            Format::Json => json::own_line(text),
        })
    }

    fn subscriber<W>(&self, writer: W) -> Box<dyn Subscriber + Send + Sync>
    where
        W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
    {
        let registry = Registry::default().with(self.targets());
        // A full disk or a closed stderr loses lines, and there is nowhere to report it.
        let layer = lines::layer().with_writer(writer).with_ansi(false).log_internal_errors(false);
        match self.format {
            Format::Text => {
                let text = Text { is_stamped: self.file.is_some() };
                Box::new(registry.with(layer.fmt_fields(text).event_format(text)))
            }
            Format::Json => Box::new(registry.with(layer.fmt_fields(Json).event_format(Json))),
        }
    }

    /// The filter. It is asked once per place in the code, so that a disabled line costs one load.
    fn targets(&self) -> Targets {
        let app_log = self.app_log && self.level >= Level::Info;
        let app_log = if app_log { LevelFilter::INFO } else { LevelFilter::OFF };
        Targets::new().with_default(self.level.filter()).with_target(APP_LOG, app_log)
    }
}

/// What a command traces, as notes on stderr: with `-v` from the level `info` on, with `-vv` from `debug`,
/// and with `-vvv` all.
pub(crate) fn notes_subscriber(verbose: u8, notes: NoteWriter) -> Dispatch {
    let level = match verbose {
        0 | 1 => Level::Info,
        2 => Level::Debug,
        _ => Level::Trace,
    };
    let logging = Logging { level, ..Logging::default() };
    Dispatch::new(logging.subscriber(move || notes.clone()))
}

impl LogGuard {
    /// Whether the log goes to a file.
    pub fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Reopens the file by its name, as after logrotate has moved it.
    pub fn reopen(&self) {
        self.file.iter().for_each(WriterThread::reopen);
    }

    /// A writer to stderr that never waits, and keeps the order of its lines and those of the log.
    pub fn console(&self) -> impl Write + Send + Sync + 'static {
        ConsoleWriter(self.console.clone())
    }

    /// Waits until every line so far is in the file, or counted as lost; for a few seconds at most.
    pub fn flush(&self) {
        self.file.iter().for_each(WriterThread::flush);
    }

    /// Redirects the process's own stdout and stderr to the file, also after a rotation.
    pub fn take_streams(&self) {
        self.file.iter().for_each(WriterThread::take_streams);
    }
}

#[cfg(test)]
mod tests;
