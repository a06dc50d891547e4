//! What a command shows beside lines: tables, trees, lists, bars.

use std::io::{self, Write as _};

use super::progress::{Bars, Kind, Progress};
use super::sink::SharedSink;
use super::styled_table::Table;
use super::terminal::{Terminal, screen};
use super::text::{cut, width};
use super::tree::Tree;
use super::{Output, Paint, Style, Verbosity, definitions, table};

impl Output {
    /// Prints rows under headings in aligned columns, numbers to the right. Cells are escaped. What does not
    /// fit into the terminal is cut, or printed as one block for each row.
    pub fn table<const N: usize>(&mut self, headings: [&str; N], rows: &[[String; N]]) {
        for line in table::lines(headings, rows, Paint(Style::Heading), self.width()) {
            self.line(line);
        }
    }

    /// Prints a table with a frame, whose cells are wrapped.
    pub fn print_table(&mut self, table: &Table) {
        for line in table.lines(self.width()) {
            self.line(line);
        }
    }

    /// Prints a tree.
    pub fn tree(&mut self, tree: &Tree) {
        for line in tree.lines(self.width()) {
            self.line(line);
        }
    }

    /// Prints names with their descriptions, aligned, and wrapped at the width of the terminal.
    pub fn definitions(&mut self, entries: &[(String, String)]) {
        let names = entries.iter().map(|(name, _)| width(name)).max().unwrap_or_default();
        self.definitions_at(names, entries);
    }

    /// The same with names of this width, so that several lists are aligned.
    pub fn definitions_at(&mut self, names: usize, entries: &[(String, String)]) {
        for line in definitions::lines(names, entries, Paint(Style::Name), self.width()) {
            self.line(line);
        }
    }

    /// Begins a progress bar of so many steps: see [`Progress`].
    pub fn progress(&mut self, label: &str, total: u64) -> Progress {
        self.add_bar(label, Some(total))
    }

    /// Begins a spinner, for work whose length is not known: see [`Progress`].
    pub fn spinner(&mut self, label: &str) -> Progress {
        self.add_bar(label, None)
    }

    fn add_bar(&mut self, label: &str, total: Option<u64>) -> Progress {
        self.flush();
        let columns = self.note_width();
        let kind = Kind::on(self.remarks.lock().terminal, self.verbosity < Verbosity::Normal);
        self.bars.get_or_insert_with(|| Bars::new(&self.remarks)).add(kind, label, total, columns)
    }

    /// Whether notes go to a terminal, so that it makes sense to [`Output::redraw`] one.
    pub fn is_interactive(&self) -> bool {
        self.remarks.lock().terminal == Terminal::Full && self.verbosity >= Verbosity::Normal
    }

    /// A writer of notes, for what a command traces.
    pub(crate) fn note_writer(&self) -> NoteWriter {
        NoteWriter(self.remarks.clone())
    }

    /// Whether the output is kept instead of printed.
    pub(crate) fn is_captured(&self) -> bool {
        self.results.is_memory()
    }

    /// Whether notes go to a terminal of any kind.
    pub(crate) fn shows_notes_on_a_terminal(&self) -> bool {
        self.remarks.lock().terminal != Terminal::None
    }

    /// Whether notes go to a terminal on which prompts can be drawn.
    pub(crate) fn has_prompts(&self) -> bool {
        self.remarks.lock().terminal == Terminal::Full
    }

    pub(crate) fn has_colored_notes(&self) -> bool {
        self.remarks.lock().colored
    }

    /// Replaces the line drawn before, such as a progress bar, cut to the width of the terminal; prints
    /// nothing unless the output is interactive.
    ///
    /// An empty text clears the line, which is needed before anything else is printed.
    pub fn redraw(&mut self, text: impl std::fmt::Display) {
        if self.is_interactive() {
            self.results.flush();
            // In the last column, some terminals wrap already.
            let columns = self.note_width() - 1;
            let mut remarks = self.remarks.lock();
            remarks.write_raw("\r\x1b[2K");
            remarks.write(format_args!("{}", cut(&text.to_string(), columns)));
            remarks.flush();
        }
    }

    /// Whether a report can be repeated in place.
    pub fn has_screen(&self) -> bool {
        self.results.terminal == Terminal::Full
    }

    /// Begins a report that replaces the one before: on the alternate screen of the terminal, so that what
    /// was there comes back at the end. Lines below the end of the screen are left out, as are the ends of
    /// long ones. An error ends it.
    pub fn begin_screen(&mut self) {
        let Some(size) = self.results.size() else { return };
        if self.results.rows.is_none() {
            self.remarks.lock().flush();
            self.results.write_raw(screen::ENTER);
        }
        self.results.write_raw(screen::CLEAR);
        self.results.rows = Some(size.rows - 1);
    }

    /// Returns from the alternate screen when the program is about to end, and its output cannot be reached.
    pub fn restore_screen() {
        let mut stdout = io::stdout();
        // Nobody is left to be told about a terminal that is gone.
        let _ = stdout.write_all(screen::LEAVE.as_bytes()).and_then(|()| stdout.flush());
    }

    /// Returns from the alternate screen.
    pub fn end_screen(&mut self) {
        if self.results.rows.take().is_some() {
            self.results.write_raw(screen::LEAVE);
        }
    }
}

/// A writer of notes that several may have.
#[derive(Clone)]
pub(crate) struct NoteWriter(SharedSink);

impl io::Write for NoteWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut remarks = self.0.lock();
        remarks.write(format_args!("{}", String::from_utf8_lossy(bytes)));
        remarks.flush();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
