//! Formats rows as a table with aligned columns.

use std::borrow::Cow;

use super::text::{cut, width};
use super::{Paint, escape_control};

const GAP: &str = "  ";
/// The width that a column of text keeps in a narrow terminal.
const MIN_WIDTH: usize = 12;
/// The length of the longest unit of time.
const LONGEST_UNIT: usize = 3;

/// Formats the lines of a table, the headings first. In a terminal that is too narrow, long texts are cut; if
/// that is not enough, each row becomes a block of named values.
pub(super) fn lines<const N: usize>(
    headings: [&str; N],
    rows: &[[String; N]],
    heading: Paint,
    width: Option<usize>,
) -> Vec<String> {
    // A cell comes from anywhere: a line end or an escape sequence in it must not break the table.
    let rows: Vec<[Cow<str>; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| escape_control(cell))).collect();
    let mut columns: [Column; N] =
        std::array::from_fn(|index| Column::of(headings[index], rows.iter().map(|row| &*row[index])));
    if width.is_some_and(|width| !shrink(&mut columns, width)) {
        return blocks(headings, &rows, heading);
    }
    let head = format!("{heading}{}{heading:#}", join(&columns, headings));
    std::iter::once(head)
        .chain(rows.iter().map(|row| join(&columns, row.each_ref().map(|cell| &**cell))))
        .collect()
}

struct Column {
    width: usize,
    /// The width below which it is not cut.
    least: usize,
    numeric: bool,
}

impl Column {
    fn of<'a>(heading: &str, cells: impl Iterator<Item = &'a str>) -> Self {
        let mut column = Self { width: width(heading), least: 0, numeric: false };
        let mut has_times = true;
        for (index, cell) in cells.enumerate() {
            column.width = column.width.max(width(cell));
            column.numeric = (index == 0 || column.numeric) && cell.parse::<f64>().is_ok();
            has_times &= cell.is_empty() || is_time(cell);
        }
        let least = if column.numeric || has_times { column.width } else { width(heading).max(MIN_WIDTH) };
        Self { least: least.min(column.width), ..column }
    }

    fn padding(&self, cell: &str) -> String {
        " ".repeat(self.width.saturating_sub(width(cell)))
    }
}

/// Whether a cell is a point in time or a length of it, such as `2026-11-21T09:00:00Z`, `3m 20s` or `1.5 s`:
/// a part of it would say something else.
fn is_time(cell: &str) -> bool {
    let is_word =
        |word: &str| word.starts_with(|first: char| first.is_ascii_digit()) || word.len() <= LONGEST_UNIT;
    cell.starts_with(|first: char| first.is_ascii_digit()) && cell.split(' ').all(is_word)
}

/// Makes the widest columns narrower until the table fits; `false` if it does not.
fn shrink(columns: &mut [Column], width: usize) -> bool {
    let total = |columns: &[Column]| {
        columns.iter().map(|column| column.width).sum::<usize>() + GAP.len() * (columns.len().max(1) - 1)
    };
    while total(columns) > width {
        let wide = columns.iter_mut().filter(|column| column.width > column.least);
        let Some(widest) = wide.max_by_key(|column| column.width) else { return false };
        widest.width -= 1;
    }
    true
}

fn join<const N: usize>(columns: &[Column; N], cells: [&str; N]) -> String {
    let mut line = String::new();
    for (column, cell) in columns.iter().zip(cells) {
        if !line.is_empty() {
            line.push_str(GAP);
        }
        let cell = cut(cell, column.width);
        let padding = column.padding(&cell);
        line.push_str(&if column.numeric { padding + &cell } else { cell.into_owned() + &padding });
    }
    line.truncate(line.trim_end().len());
    line
}

/// A block for each row: its values that are there, each behind its heading.
fn blocks<const N: usize>(headings: [&str; N], rows: &[[Cow<str>; N]], heading: Paint) -> Vec<String> {
    let names = headings.iter().map(|name| width(name)).max().unwrap_or_default();
    let line = |(name, value): (&str, &Cow<str>)| {
        let padding = " ".repeat(names - width(name));
        format!("{heading}{name}{heading:#}{padding}{GAP}{value}")
    };
    let block = |row: &[Cow<str>; N]| {
        let values = headings.into_iter().zip(row).filter(|(_, value)| !value.is_empty());
        values.map(line).collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    for row in rows {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(block(row));
    }
    lines
}

#[cfg(test)]
mod tests {
    use crate::output::{ColorChoice, Output, Paint, Style, Verbosity};

    fn table<const N: usize>(headings: [&str; N], rows: &[[&str; N]]) -> String {
        let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
        let rows: Vec<[String; N]> = rows.iter().map(|row| row.map(str::to_owned)).collect();
        output.table(headings, &rows);
        output.into_captured().stdout
    }

    #[test]
    fn table_aligns_names_left_and_numbers_right() {
        assert_eq!(
            table(["queue", "waiting"], &[["default", "7"], ["mail", "1200"]]),
            "queue    waiting\ndefault        7\nmail        1200\n"
        );
    }

    #[test]
    fn table_counts_a_wide_character_as_two_columns() {
        assert_eq!(table(["a", "b"], &[["队列", "x"], ["q", "y"]]), "a     b\n队列  x\nq     y\n");
    }

    fn narrow<const N: usize>(headings: [&str; N], row: [&str; N], width: usize) -> Vec<String> {
        super::lines(headings, &[row.map(str::to_owned)], Paint(Style::Heading), Some(width)).split_off(1)
    }

    #[test]
    fn table_cuts_long_texts_to_the_width_of_the_terminal() {
        let row = ["1", "a task with a long name", "an even longer text of it"];
        assert_eq!(
            narrow(["id", "name", "text"], row, 40),
            [" 1  a task with a lo\u{2026}  an even longer t\u{2026}"]
        );
        assert_eq!(super::cut("\u{961f}\u{5217}\u{961f}", 5), "\u{961f}\u{5217}\u{2026}");
    }

    #[test]
    fn table_never_cuts_a_time() {
        let row = ["2026-11-21T09:00:00Z", "3m 20s ago", "a task with a very long name"];
        assert_eq!(
            narrow(["due", "seen", "name"], row, 50),
            ["2026-11-21T09:00:00Z  3m 20s ago  a task with a v\u{2026}"]
        );
        assert!(!super::is_time("7 small dwarfs") && !super::is_time("mail"));
    }

    #[test]
    fn table_becomes_blocks_where_it_cannot_fit() {
        let row = ["1", "a task with a long name", "", "an even longer text of it"];
        let lines = narrow(["id", "name", "state", "text"], row, 20);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].ends_with("an even longer text of it"), "{lines:?}");
    }

    #[test]
    fn table_escapes_line_ends_and_control_characters_in_a_cell() {
        assert_eq!(table(["a"], &[["x\ny\u{1b}[2J"]]), "a\nx\\ny\\u{1b}[2J\n");
    }
}
