//! The only printer: results to stdout, everything else to stderr.

mod escape;
mod sink;
mod table;

use std::fmt::Display;
use std::io;

use serde::Serialize;

pub(crate) use self::escape::EscapeControl;
pub use self::escape::{escape_control, escape_json};
pub use self::sink::Captured;
use self::sink::Sink;

/// How much is said beside the results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Results and errors alone.
    Quiet,
    #[default]
    Normal,
    /// 1 to 3, as many as there were `-v`.
    Verbose(u8),
}

/// When text is coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Colours {
    /// Where a stream is a terminal.
    #[default]
    Auto,
    Always,
    Never,
}

/// What a piece of text is, from which its colour follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Heading,
    Name,
    Muted,
    Good,
    Warning,
    Bad,
}

/// Where a command prints.
///
/// Results are buffered, and written at the latest when the command ends or says something on stderr, so the
/// order of the two is kept. A reader that goes away (`| head -1`) is no error: the rest is dropped.
pub struct Output {
    results: Sink,
    remarks: Sink,
    verbosity: Verbosity,
}

impl Output {
    /// Prints to the process's own stdout and stderr.
    pub fn terminal(verbosity: Verbosity, colours: Colours) -> Self {
        Self { results: Sink::stdout(colours), remarks: Sink::stderr(colours), verbosity }
    }

    /// Keeps what is printed, for tests and for commands that are called from code.
    pub fn captured(verbosity: Verbosity, colours: Colours) -> Self {
        let coloured = colours == Colours::Always;
        Self { results: Sink::memory(coloured), remarks: Sink::memory(coloured), verbosity }
    }

    /// What was printed so far; nothing if this output is not a captured one.
    pub fn into_captured(self) -> Captured {
        Captured { stdout: self.results.into_text(), stderr: self.remarks.into_text() }
    }

    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Whether the reader of the results has gone away, so that an endless command can end.
    pub fn is_closed(&self) -> bool {
        self.results.is_closed()
    }

    /// Whether the results go to a terminal.
    pub fn is_on_terminal(&self) -> bool {
        self.results.terminal
    }

    /// One line of the result.
    pub fn line(&mut self, text: impl Display) {
        self.results.write(format_args!("{text}\n"));
    }

    /// A piece of the result without a line end.
    pub fn text(&mut self, text: impl Display) {
        self.results.write(format_args!("{text}"));
    }

    /// Help as clap renders it, coloured where the result is.
    pub fn help(&mut self, text: &clap::builder::StyledStr) {
        if self.results.coloured { self.text(text.ansi()) } else { self.text(text) }
    }

    /// A result for programs: one line of JSON.
    ///
    /// # Errors
    /// When `value` has no form in JSON, as a map with keys that are not strings.
    pub fn json(&mut self, value: &impl Serialize) -> serde_json::Result<()> {
        let text = serde_json::to_string(value)?;
        self.line(escape_json(&text));
        Ok(())
    }

    /// Rows under headings, aligned; columns of numbers to the right.
    pub fn table<const N: usize>(&mut self, headings: [&str; N], rows: &[[String; N]]) {
        let heading = self.style(Style::Heading);
        for line in table::lines(headings, rows, &heading) {
            self.line(line);
        }
    }

    /// A remark; silent with `-q`.
    pub fn note(&mut self, text: impl Display) {
        self.remark(Verbosity::Normal, None, "", text);
    }

    /// A remark for the curious: from `-v` on.
    pub fn detail(&mut self, text: impl Display) {
        self.remark(Verbosity::Verbose(1), Some(Style::Muted), "", text);
    }

    /// A remark that something went well; silent with `-q`.
    pub fn success(&mut self, text: impl Display) {
        self.remark(Verbosity::Normal, Some(Style::Good), "", text);
    }

    /// Something the reader should look at, though the command goes on; silent with `-q`.
    pub fn warn(&mut self, text: impl Display) {
        self.remark(Verbosity::Normal, Some(Style::Warning), "warning: ", text);
    }

    /// Whether a person sees the remarks as they come, so that it makes sense to [`Output::redraw`] one.
    pub fn is_watched(&self) -> bool {
        self.remarks.terminal && self.verbosity >= Verbosity::Normal
    }

    /// A remark that takes the place of the one drawn before; nothing where nobody watches. An empty one clears the
    /// line, as has to be done before anything else is said.
    pub fn redraw(&mut self, text: impl Display) {
        if self.is_watched() {
            self.results.flush();
            self.remarks.write(format_args!("\r\x1b[2K{text}"));
            self.remarks.flush();
        }
    }

    /// Why the command failed; always said.
    pub fn error(&mut self, text: impl Display) {
        self.remark(Verbosity::Quiet, Some(Style::Bad), "error: ", text);
    }

    /// Asks a question on stderr, without a line end.
    pub(crate) fn ask(&mut self, question: impl Display) {
        self.results.flush();
        self.remarks.write(format_args!("{question} "));
        self.remarks.flush();
    }

    /// The colours of `style` in the results, for text that is put together by hand.
    pub fn style(&self, style: Style) -> Paint {
        Paint(self.results.coloured.then_some(style))
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) {
        self.results.flush();
        self.remarks.flush();
    }

    /// Flushes, and tells whether the results have arrived.
    ///
    /// # Errors
    /// When they could not be written, as on a full disk; a reader that went away is none.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.flush();
        self.results.take_error().map_or(Ok(()), Err)
    }

    fn remark(&mut self, from: Verbosity, style: Option<Style>, label: &str, text: impl Display) {
        if self.verbosity < from {
            return;
        }
        self.results.flush();
        let paint = Paint(style.filter(|_| self.remarks.coloured));
        // Errors and warnings are long: there only the label is coloured.
        if label.is_empty() {
            self.remarks.write(format_args!("{}\n", paint.on(text)));
        } else {
            self.remarks.write(format_args!("{}{text}\n", paint.on(label)));
        }
        self.remarks.flush();
    }
}

/// Puts text in one style, or leaves it alone where there are no colours.
#[derive(Debug, Clone, Copy)]
pub struct Paint(Option<Style>);

impl Paint {
    pub fn on(self, text: impl Display) -> impl Display {
        let (start, end) = match self.0 {
            None => ("", ""),
            Some(Style::Heading | Style::Warning) => ("\x1b[33m", "\x1b[0m"),
            Some(Style::Name | Style::Good) => ("\x1b[32m", "\x1b[0m"),
            Some(Style::Muted) => ("\x1b[2m", "\x1b[0m"),
            Some(Style::Bad) => ("\x1b[31m", "\x1b[0m"),
        };
        Painted { start, text, end }
    }
}

struct Painted<T> {
    start: &'static str,
    text: T,
    end: &'static str,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(self.start)?;
        self.text.fmt(formatter)?;
        formatter.write_str(self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(verbosity: Verbosity, colours: Colours) -> Captured {
        let mut output = Output::captured(verbosity, colours);
        output.line("result");
        output.note("note");
        output.detail("detail");
        output.warn("careful");
        output.error("broken");
        output.into_captured()
    }

    #[test]
    fn results_and_remarks_go_to_different_streams() {
        let printed = printed(Verbosity::Normal, Colours::Auto);
        assert_eq!(printed.stdout, "result\n");
        assert_eq!(printed.stderr, "note\nwarning: careful\nerror: broken\n");
    }

    #[test]
    fn quiet_leaves_results_and_errors() {
        let printed = printed(Verbosity::Quiet, Colours::Never);
        assert_eq!(printed.stdout, "result\n");
        assert_eq!(printed.stderr, "error: broken\n");
    }

    #[test]
    fn details_are_said_from_the_first_v_on() {
        assert!(printed(Verbosity::Verbose(1), Colours::Never).stderr.contains("detail\n"));
    }

    #[test]
    fn colours_are_only_used_where_they_are_asked_for() {
        assert!(!printed(Verbosity::Normal, Colours::Auto).stderr.contains('\x1b'));
        assert!(printed(Verbosity::Normal, Colours::Always).stderr.contains("\x1b[31merror: \x1b[0mbroken"));
    }

    #[test]
    fn json_is_one_line() {
        let mut output = Output::captured(Verbosity::Normal, Colours::Never);
        output.json(&serde_json::json!({"task_id": 12})).unwrap();
        assert_eq!(output.into_captured().stdout, "{\"task_id\":12}\n");
    }

    /// An output may move to another thread.
    const _: () = {
        const fn is_send<T: Send>() {}
        is_send::<Output>();
    };
}
