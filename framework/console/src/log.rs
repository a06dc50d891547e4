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

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use buffer::{LogBuffer, WriterThread};
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
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, fmt as lines};

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
    /// The size of the buffer of the file, in bytes; lines beyond it are dropped and counted.
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

/// The log of a process; dropping it writes what is buffered.
#[must_use = "the log file is written as long as the guard lives"]
pub struct LogGuard(Option<WriterThread>);

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
        let (buffer, writer_thread) = self.open()?.unzip();
        let writer = match buffer.clone() {
            Some(buffer) => BoxMakeWriter::new(Arc::new(buffer)),
            None => BoxMakeWriter::new(io::stderr),
        };
        tracing::subscriber::set_global_default(self.subscriber(writer)).context("starting the log")?;
        if self.outcomes && self.level >= Level::Info {
            outcome_lines::log_outcomes(self.format, buffer);
        }
        Ok(LogGuard(writer_thread))
    }

    fn open(&self) -> Result<Option<(LogBuffer, WriterThread)>> {
        let Some(path) = &self.file else { return Ok(None) };
        let file = LogFile::open(path, self.rotation, self.keep)?;
        let format = self.format;
        LogBuffer::open(file, self.max_buffer, move |text| match format {
            Format::Text => text::own_line(text),
            Format::Json => json::own_line(text),
        })
        .map(Some)
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

impl LogGuard {
    /// Whether the log goes to a file.
    pub fn is_file(&self) -> bool {
        self.0.is_some()
    }

    /// Reopens the file by its name, as after logrotate has moved it.
    pub fn reopen(&self) {
        self.0.iter().for_each(WriterThread::reopen);
    }

    /// Waits until every line so far is written, or counted as lost.
    pub fn flush(&self) {
        self.0.iter().for_each(WriterThread::flush);
    }

    /// Redirects the process's own stdout and stderr to the file, also after a rotation.
    pub fn take_streams(&self) {
        self.0.iter().for_each(WriterThread::take_streams);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::{fmt, thread};

    use tracing::{debug, error, info, info_span};

    use super::*;

    #[derive(Clone, Default)]
    struct MemoryWriter(Arc<Mutex<Vec<u8>>>);

    impl Write for MemoryWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `log` writes.
    fn logged(logging: Logging, log: impl FnOnce()) -> String {
        let memory = MemoryWriter::default();
        let writer = memory.clone();
        tracing::subscriber::with_default(logging.subscriber(move || writer.clone()), log);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// Counts how often it is formatted.
    struct Counted<'a>(&'a AtomicU32);

    impl fmt::Display for Counted<'_> {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn app_log_line_has_no_time_and_level_on_stderr() {
        let (text, number) = ("hello", 1);
        let lines = logged(Logging::default(), || app_log!("message: {text} from Client: {number}"));
        assert_eq!(lines, "message: hello from Client: 1\n");
    }

    #[test]
    fn app_log_line_escapes_control_characters() {
        let text = "a\nb\r\t\u{1b}[31mred\u{9b}2J \u{202e}ü→😀 \\";
        let lines = logged(Logging::default(), || app_log!("{text}"));
        assert_eq!(lines, "a\\nb\\r\\t\\u{1b}[31mred\\u{9b}2J \\u{202e}ü→😀 \\\n");
    }

    #[test]
    fn text_line_has_time_level_and_the_last_part_of_its_target() {
        let lines = logged(Logging::default(), || {
            let _span = info_span!("attempt", task = 12).entered();
            info!(target: "framework::server::worker", size = 3, name = "a\nb", "slow: {}", "\u{7}");
        });
        let (time, rest) = lines.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok() && time.len() == 24, "{time}");
        assert_eq!(rest, " INFO worker: slow: \\u{7} size=3 name=\"a\\nb\" task=12\n");
    }

    #[test]
    fn json_line_is_one_object() {
        let logging = Logging { format: Format::Json, ..Logging::default() };
        let lines = logged(logging, || {
            let span = info_span!("attempt", task = 12, note = tracing::field::Empty).entered();
            span.record("note", "late");
            app_log!("a\n\u{9b}\"b\"");
            error!(target: "here", ok = true, share = 0.5, debt = -1, none = f64::NAN, "gone");
        });
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], "a\n\u{9b}\"b\"");
        assert_eq!(lines[0]["target"], "app_log");
        assert!(humantime::parse_rfc3339(lines[1]["time"].as_str().unwrap()).is_ok());
        assert_eq!(lines[1]["level"], "ERROR");
        let fields = serde_json::json!({ "ok": true, "share": 0.5, "debt": -1, "none": "NaN" });
        assert_eq!(lines[1]["fields"], fields);
        let spans = serde_json::json!([{ "name": "attempt", "task": 12, "note": "late" }]);
        assert_eq!(lines[1]["spans"], spans);
    }

    #[test]
    fn json_line_has_no_control_characters() {
        let logging = Logging { format: Format::Json, ..Logging::default() };
        let lines = logged(logging, || app_log!("\u{1b}[31m\u{9b}\u{7f}"));
        assert!(!lines.trim_end().contains(char::is_control), "{lines:?}");
    }

    #[test]
    fn app_log_line_is_not_even_formatted_while_it_is_off() {
        for (level, app_log) in [(Level::Info, false), (Level::Warn, true), (Level::Off, true)] {
            let count = AtomicU32::new(0);
            let logging = Logging { level, app_log, ..Logging::default() };
            let lines = logged(logging, || app_log!("{}", Counted(&count)));
            assert_eq!((lines.as_str(), count.into_inner()), ("", 0), "{level:?}");
        }
    }

    #[test]
    fn app_log_can_be_off_while_other_lines_are_on() {
        let logging = Logging { app_log: false, ..Logging::default() };
        let lines = logged(logging, || {
            app_log!("hidden");
            info!("shown");
            debug!("too fine");
        });
        assert!(lines.ends_with("shown\n") && lines.lines().count() == 1, "{lines}");
    }

    #[test]
    fn level_is_adjusted_by_options() {
        assert_eq!(Level::Info.adjusted(false, 0), Level::Info);
        assert_eq!(Level::Debug.adjusted(true, 0), Level::Error);
        assert_eq!(Level::Off.adjusted(true, 0), Level::Off);
        assert_eq!(Level::Warn.adjusted(false, 1), Level::Debug);
        assert_eq!(Level::Trace.adjusted(false, 1), Level::Trace);
        assert_eq!(Level::Info.adjusted(false, 2), Level::Trace);
    }

    #[test]
    fn failing_writer_is_tried_for_every_line() {
        struct Full(Arc<Mutex<Vec<u8>>>);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let tried = Arc::new(Mutex::new(Vec::new()));
        let writer = tried.clone();
        let subscriber = Logging::default().subscriber(move || Full(writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            app_log!("first");
            app_log!("second");
        });
        assert_eq!(String::from_utf8(tried.lock().unwrap().clone()).unwrap(), "first\nsecond\n");
    }

    #[test]
    fn line_of_a_task_carries_its_id() {
        let lines = logged(Logging::default(), || {
            with_task(12, || info!("sent"));
            with_task(12, || app_log!("bare"));
            info!("other");
        });
        let lines: Vec<_> = lines.lines().collect();
        assert!(lines[0].ends_with("sent task=12") && lines[1] == "bare" && lines[2].ends_with("other"));
        let lines = logged(Logging { format: Format::Json, ..Logging::default() }, || {
            with_task(12, || info!("sent"));
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&lines).unwrap()["task"], 12);
    }

    #[test]
    fn app_log_line_in_a_file_has_its_time() {
        let logging = Logging { file: Some("server.log".into()), ..Logging::default() };
        let lines = logged(logging, || app_log!("Connect"));
        assert!(lines.ends_with("Z  INFO app_log: Connect\n"), "{lines}");
    }

    #[test]
    fn lines_of_many_threads_never_interleave() {
        let directory = std::env::temp_dir().join(format!("think-log-{}", std::process::id()));
        let path = directory.join("deep/server.log");
        let logging = Logging { file: Some(path.clone()), ..Logging::default() };
        let (buffer, writer_thread) = logging.open().unwrap().unwrap();
        let dispatch = tracing::Dispatch::new(Logging::default().subscriber(Arc::new(buffer)));
        thread::scope(|scope| {
            for letter in ["a", "b", "c", "d"] {
                let dispatch = dispatch.clone();
                scope.spawn(move || {
                    let text = letter.repeat(500);
                    tracing::dispatcher::with_default(&dispatch, || {
                        (0..250).for_each(|_| app_log!("{text}"));
                    });
                });
            }
        });
        drop(writer_thread);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(text.lines().count(), 1_000);
        assert!(text.lines().all(|line| line.len() == 500 && line.bytes().all(|b| b == line.as_bytes()[0])));
    }
}
