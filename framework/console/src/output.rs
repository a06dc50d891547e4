//! The only printer: results go to stdout, everything else to stderr.

mod definitions;
mod escape;
mod paint;
mod progress;
mod show;
mod sink;
mod styled_table;
mod table;
mod terminal;
mod text;
mod tree;

use std::fmt::Display;
use std::io;

pub use anstream::ColorChoice;
use anstyle::AnsiColor;
use serde::Serialize;

pub(crate) use self::escape::EscapeControl;
pub use self::escape::{escape_control, escape_json};
pub use self::paint::{Link, Paint};
use self::progress::Bars;
pub use self::progress::Progress;
pub(crate) use self::show::NoteWriter;
pub use self::sink::Captured;
use self::sink::{SharedSink, Sink};
pub use self::styled_table::{Align, Table, TableStyle};
use self::terminal::Terminal;
pub(crate) use self::terminal::is_ci;
pub use self::text::wrap;
pub use self::tree::Tree;

/// The amount of output beside the results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Results and errors only.
    Quiet,
    /// Notes and warnings as well.
    #[default]
    Normal,
    /// Details as well; 1 to 3, the number of `-v`.
    Verbose(u8),
}

/// The kind of a piece of text, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Heading,
    Name,
    Muted,
    Good,
    Warning,
    Bad,
    /// The tag `<info>` of `markup!`.
    Info,
    /// The tag `<comment>` of `markup!`.
    Comment,
    /// The tag `<question>` of `markup!`.
    Question,
    /// The tag `<error>` of `markup!`.
    Error,
    /// The tag `<highlight>` of `markup!`.
    Highlight,
    /// The tag `<warning>` of `markup!`.
    Alert,
}

impl Style {
    const ALL: [Self; 12] = [
        Self::Heading,
        Self::Name,
        Self::Muted,
        Self::Good,
        Self::Warning,
        Self::Bad,
        Self::Info,
        Self::Comment,
        Self::Question,
        Self::Error,
        Self::Highlight,
        Self::Alert,
    ];
}

impl From<Style> for anstyle::Style {
    fn from(style: Style) -> Self {
        match style {
            Style::Heading | Style::Warning | Style::Comment => AnsiColor::Yellow.on_default(),
            Style::Name | Style::Good | Style::Info => AnsiColor::Green.on_default(),
            Style::Muted => Self::new().dimmed(),
            Style::Bad | Style::Highlight => AnsiColor::Red.on_default(),
            Style::Question => AnsiColor::Black.on(AnsiColor::Cyan),
            Style::Error => AnsiColor::White.on(AnsiColor::Red),
            Style::Alert => AnsiColor::Black.on(AnsiColor::Yellow),
        }
    }
}

/// The output of a command.
///
/// Results are buffered, and written at the latest when the command ends or prints to stderr, so that the
/// order of the two streams is kept. A reader that closes its end (`| head -1`) is no error: the rest is
/// discarded.
///
/// A text may come from anywhere. What a terminal would obey (escape sequences, other control characters but
/// line ends and tabs, changes of the writing direction) is shown as `\u{1b}` and the like, on every stream;
/// colours come from [`Output::style`] alone.
pub struct Output {
    results: Sink,
    remarks: SharedSink,
    bars: Option<Bars>,
    verbosity: Verbosity,
}

impl Output {
    /// An output that prints to the process's own stdout and stderr.
    ///
    /// [`ColorChoice::Auto`] colours what goes to a terminal, as `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and
    /// `TERM` allow.
    pub fn terminal(verbosity: Verbosity, colors: ColorChoice) -> Self {
        Self::new(Sink::stdout(colors), Sink::stderr(colors), verbosity)
    }

    /// An output that keeps what is printed, for tests and for commands that are called from code.
    pub fn captured(verbosity: Verbosity, colors: ColorChoice) -> Self {
        Self::new(Sink::memory(colors), Sink::memory(colors), verbosity)
    }

    fn new(results: Sink, remarks: Sink, verbosity: Verbosity) -> Self {
        Self { results, remarks: SharedSink::new(remarks), bars: None, verbosity }
    }

    /// Lays a captured output out for a terminal with so many columns.
    pub(crate) fn set_columns(&mut self, columns: usize) {
        self.results.set_columns(columns);
        self.remarks.lock().set_columns(columns);
    }

    /// Writes notes, warnings and errors through `writer` from now on, instead of to stderr itself; a
    /// captured output goes on capturing them.
    pub fn redirect_remarks(&mut self, writer: impl io::Write + Send + Sync + 'static) {
        self.remarks.lock().redirect(Box::new(writer));
    }

    /// The text printed so far; empty unless the output is a captured one.
    pub fn into_captured(mut self) -> Captured {
        Captured { stdout: self.results.take_text(), stderr: self.remarks.lock().take_text() }
    }

    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Whether the reader of the results has closed its end, so that an endless command can stop.
    pub fn is_closed(&self) -> bool {
        self.results.is_closed()
    }

    /// The width of the results in columns, from 40 to 200: that of the terminal, or `COLUMNS`; `None` if
    /// nothing limits it.
    pub fn width(&self) -> Option<usize> {
        self.results.width()
    }

    /// The width of notes in columns, for progress bars.
    pub fn note_width(&self) -> usize {
        self.remarks.lock().width().unwrap_or(80)
    }

    /// Prints one line of the result.
    pub fn line(&mut self, text: impl Display) {
        self.write_result(format_args!("{text}\n"));
    }

    /// Prints a piece of the result without a line end.
    pub fn text(&mut self, text: impl Display) {
        self.write_result(format_args!("{text}"));
    }

    fn write_result(&mut self, text: std::fmt::Arguments) {
        let Self { results, bars, .. } = self;
        match bars {
            Some(bars) if results.terminal != Terminal::None => bars.suspend(|| results.write(text)),
            _ => results.write(text),
        }
    }

    /// Prints help that clap rendered, in colour if the results are.
    pub(crate) fn help(&mut self, text: &clap::builder::StyledStr) {
        let text = if self.results.colored { text.ansi().to_string() } else { text.to_string() };
        self.results.write_raw(&text);
    }

    /// Prints a result for programs: one line of JSON, without control characters.
    ///
    /// # Errors
    /// When `value` cannot be written as JSON, as a map with keys that are not strings.
    pub fn json(&mut self, value: &impl Serialize) -> serde_json::Result<()> {
        let text = serde_json::to_string(value)?;
        self.line(escape_json(&text));
        Ok(())
    }

    /// Prints a note to stderr; not with `-q`.
    pub fn note(&mut self, text: impl Display) {
        self.remark(Verbosity::Normal, None, text);
    }

    /// Prints a detail to stderr; only with `-v`.
    pub fn detail(&mut self, text: impl Display) {
        self.remark(Verbosity::Verbose(1), Some(Style::Muted), text);
    }

    /// Prints a success to stderr; not with `-q`.
    pub fn success(&mut self, text: impl Display) {
        self.remark(Verbosity::Normal, Some(Style::Good), text);
    }

    /// Prints a warning to stderr, escaped; not with `-q`.
    pub fn warn(&mut self, text: impl Display) {
        self.labelled(Verbosity::Normal, Style::Warning, "warning: ", text);
    }

    /// Prints an error to stderr, escaped, also with `-q`.
    pub fn error(&mut self, text: impl Display) {
        self.end_screen();
        self.labelled(Verbosity::Quiet, Style::Bad, "error: ", text);
    }

    /// Prints an error for programs to stderr: one line of JSON.
    pub(crate) fn error_object(&mut self, value: &serde_json::Value) {
        self.end_screen();
        let text = value.to_string();
        self.write_remark(format_args!("{}\n", escape_json(&text)));
    }

    /// Prints a question to stderr, without a line end.
    pub(crate) fn ask(&mut self, question: impl Display) {
        self.results.flush();
        let mut remarks = self.remarks.lock();
        remarks.write(format_args!("{question} "));
        remarks.flush();
    }

    /// The colours of `style`: `format_args!("{style}{text}{style:#}")`; nothing on a stream without colours.
    pub fn style(&self, style: Style) -> Paint {
        Paint(style)
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) {
        self.results.flush();
        self.remarks.lock().flush();
    }

    /// Flushes at the end of a command.
    ///
    /// # Errors
    /// When the results could not be written, as on a full disk. A reader that closed its end is no error.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.end_screen();
        self.flush();
        self.results.take_error().map_or(Ok(()), Err)
    }

    fn remark(&mut self, from: Verbosity, style: Option<Style>, text: impl Display) {
        if self.verbosity >= from {
            match style.map(Paint) {
                Some(paint) => self.write_remark(format_args!("{paint}{text}{paint:#}\n")),
                None => self.write_remark(format_args!("{text}\n")),
            }
        }
    }

    /// Only the label is coloured: errors and warnings are long.
    fn labelled(&mut self, from: Verbosity, style: Style, label: &str, text: impl Display) {
        if self.verbosity >= from {
            let paint = Paint(style);
            self.write_remark(format_args!("{paint}{label}{paint:#}{text}\n"));
        }
    }

    fn write_remark(&mut self, text: std::fmt::Arguments) {
        if self.results.rows.is_some() && self.remarks.lock().terminal != Terminal::None {
            // Both are the same screen, whose end must not be passed.
            return self.results.write(text);
        }
        self.results.flush();
        let write = || {
            let mut remarks = self.remarks.lock();
            remarks.write(text);
            remarks.flush();
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(verbosity: Verbosity, colors: ColorChoice) -> Captured {
        let mut output = Output::captured(verbosity, colors);
        output.line("result");
        output.note("note");
        output.detail("detail");
        output.warn("careful");
        output.error("broken\nby \x1b");
        output.into_captured()
    }

    #[test]
    fn output_separates_results_and_remarks() {
        let printed = printed(Verbosity::Normal, ColorChoice::Auto);
        assert_eq!(printed.stdout, "result\n");
        assert_eq!(printed.stderr, "note\nwarning: careful\nerror: broken\nby \\u{1b}\n");
    }

    #[test]
    fn quiet_output_keeps_results_and_errors() {
        let printed = printed(Verbosity::Quiet, ColorChoice::Never);
        assert_eq!(printed.stdout, "result\n");
        assert_eq!(printed.stderr, "error: broken\nby \\u{1b}\n");
    }

    #[test]
    fn detail_is_printed_from_verbosity_1_on() {
        assert!(printed(Verbosity::Verbose(1), ColorChoice::Never).stderr.contains("detail\n"));
    }

    #[test]
    fn color_choice_decides_about_escape_sequences() {
        assert!(!printed(Verbosity::Normal, ColorChoice::Auto).stderr.contains('\x1b'));
        assert!(
            printed(Verbosity::Normal, ColorChoice::Always).stderr.contains("\x1b[31merror: \x1b[0mbroken")
        );
    }

    #[test]
    fn every_kind_of_text_is_escaped_but_for_the_colours_of_the_program() {
        let bad = "a\u{1b}[2J\u{9b}\r\u{202e}\u{fdd0}\u{1b}[31m";
        let shown = "a\\u{1b}[2J\\u{9b}\\r\\u{202e}\\u{fdd0}\\u{1b}[31m";
        for colors in [ColorChoice::Always, ColorChoice::Never] {
            let mut output = Output::captured(Verbosity::Verbose(1), colors);
            let name = output.style(Style::Name);
            output.line(format_args!("{name}{bad}{name:#}"));
            output.text(format_args!("{name}{bad}\n"));
            output.table([bad], &[[bad.to_owned()]]);
            output.note(bad);
            output.detail(bad);
            output.success(bad);
            output.warn(bad);
            output.error(bad);
            output.ask(bad);
            let Captured { stdout, stderr } = output.into_captured();
            let printed = stdout + &stderr;
            assert_eq!(printed.matches(shown).count(), 10, "{printed:?}");
            let own = ["\u{1b}[32m", "\u{1b}[33m", "\u{1b}[31m", "\u{1b}[2m", "\u{1b}[0m"];
            let rest = own.iter().fold(printed, |rest, own| rest.replace(own, ""));
            assert!(!rest.contains(['\u{1b}', '\u{9b}', '\r', '\u{202e}', '\u{fdd0}']), "{rest:?}");
        }
    }

    #[test]
    fn json_is_printed_in_one_line() {
        let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
        output.json(&serde_json::json!({"task_id": 12})).unwrap();
        assert_eq!(output.into_captured().stdout, "{\"task_id\":12}\n");
    }

    /// An output may move to another thread.
    const _: () = {
        const fn is_send<T: Send>() {}
        is_send::<Output>();
    };
}
