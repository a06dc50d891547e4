//! The only printer: results go to stdout, everything else to stderr.

mod escape;
mod sink;
mod table;

use std::fmt::Display;
use std::io;

pub use anstream::ColorChoice;
use anstyle::AnsiColor;
use serde::Serialize;

pub(crate) use self::escape::EscapeControl;
pub use self::escape::{escape_control, escape_json};
pub use self::sink::Captured;
use self::sink::Sink;

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
}

impl From<Style> for anstyle::Style {
    fn from(style: Style) -> Self {
        match style {
            Style::Heading | Style::Warning => AnsiColor::Yellow.on_default(),
            Style::Name | Style::Good => AnsiColor::Green.on_default(),
            Style::Muted => Self::new().dimmed(),
            Style::Bad => AnsiColor::Red.on_default(),
        }
    }
}

/// The output of a command.
///
/// Results are buffered, and written at the latest when the command ends or prints to stderr, so that the
/// order of the two streams is kept. A reader that closes its end (`| head -1`) is no error: the rest is
/// discarded.
pub struct Output {
    results: Sink,
    remarks: Sink,
    verbosity: Verbosity,
}

impl Output {
    /// An output that prints to the process's own stdout and stderr.
    ///
    /// [`ColorChoice::Auto`] colours what goes to a terminal, as `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and
    /// `TERM` allow.
    pub fn terminal(verbosity: Verbosity, colors: ColorChoice) -> Self {
        Self { results: Sink::stdout(colors), remarks: Sink::stderr(colors), verbosity }
    }

    /// An output that keeps what is printed, for tests and for commands that are called from code.
    pub fn captured(verbosity: Verbosity, colors: ColorChoice) -> Self {
        Self { results: Sink::memory(colors), remarks: Sink::memory(colors), verbosity }
    }

    /// The text printed so far; empty unless the output is a captured one.
    pub fn into_captured(self) -> Captured {
        Captured { stdout: self.results.into_text(), stderr: self.remarks.into_text() }
    }

    pub fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Whether the reader of the results has closed its end, so that an endless command can stop.
    pub fn is_closed(&self) -> bool {
        self.results.is_closed()
    }

    /// Whether the results go to a terminal.
    pub fn is_on_terminal(&self) -> bool {
        self.results.terminal
    }

    /// Prints one line of the result.
    pub fn line(&mut self, text: impl Display) {
        self.results.write(format_args!("{text}\n"));
    }

    /// Prints a piece of the result without a line end.
    pub fn text(&mut self, text: impl Display) {
        self.results.write(format_args!("{text}"));
    }

    /// Prints help that clap rendered, in colour if the results are.
    pub fn help(&mut self, text: &clap::builder::StyledStr) {
        if self.results.colored { self.text(text.ansi()) } else { self.text(text) }
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

    /// Prints rows under headings in aligned columns, numbers to the right. Cells are escaped.
    pub fn table<const N: usize>(&mut self, headings: [&str; N], rows: &[[String; N]]) {
        let heading = self.style(Style::Heading);
        for line in table::lines(headings, rows, heading) {
            self.line(line);
        }
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
        self.labelled(Verbosity::Quiet, Style::Bad, "error: ", text);
    }

    /// Whether notes go to a terminal, so that it makes sense to [`Output::redraw`] one.
    pub fn is_interactive(&self) -> bool {
        self.remarks.terminal && self.verbosity >= Verbosity::Normal
    }

    /// Replaces the line drawn before, such as a progress bar; prints nothing unless the output is
    /// interactive.
    ///
    /// An empty text clears the line, which is needed before anything else is printed.
    pub fn redraw(&mut self, text: impl Display) {
        if self.is_interactive() {
            self.results.flush();
            self.remarks.write(format_args!("\r\x1b[2K{text}"));
            self.remarks.flush();
        }
    }

    /// Prints a question to stderr, without a line end.
    pub(crate) fn ask(&mut self, question: impl Display) {
        self.results.flush();
        self.remarks.write(format_args!("{question} "));
        self.remarks.flush();
    }

    /// The colours of `style` in the results: `format_args!("{style}{text}{style:#}")`; plain without
    /// colours.
    pub fn style(&self, style: Style) -> anstyle::Style {
        self.results.style(style)
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) {
        self.results.flush();
        self.remarks.flush();
    }

    /// Flushes at the end of a command.
    ///
    /// # Errors
    /// When the results could not be written, as on a full disk. A reader that closed its end is no error.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.flush();
        self.results.take_error().map_or(Ok(()), Err)
    }

    fn remark(&mut self, from: Verbosity, style: Option<Style>, text: impl Display) {
        if self.verbosity >= from {
            let style = style.map(|style| self.remarks.style(style)).unwrap_or_default();
            self.write_remark(format_args!("{style}{text}{style:#}\n"));
        }
    }

    /// Only the label is coloured: errors and warnings are long.
    fn labelled(&mut self, from: Verbosity, style: Style, label: &str, text: impl Display) {
        if self.verbosity >= from {
            let style = self.remarks.style(style);
            let text = text.to_string();
            let lines: Vec<_> = text.split('\n').map(escape_control).collect();
            self.write_remark(format_args!("{style}{label}{style:#}{}\n", lines.join("\n")));
        }
    }

    fn write_remark(&mut self, text: std::fmt::Arguments) {
        self.results.flush();
        self.remarks.write(text);
        self.remarks.flush();
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
