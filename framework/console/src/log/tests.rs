//! Tests of the formats and levels of the log.

use std::io;
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
