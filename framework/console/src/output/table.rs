//! Formats rows as a table with aligned columns.

use std::borrow::Cow;

use super::escape_control;

const GAP: &str = "  ";

/// Formats the lines of a table, the headings first.
pub(super) fn lines<const N: usize>(
    headings: [&str; N],
    rows: &[[String; N]],
    heading: anstyle::Style,
) -> Vec<String> {
    // A cell comes from anywhere: a line end or an escape sequence in it must not break the table.
    let rows: Vec<[Cow<str>; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| escape_control(cell))).collect();
    let columns: [Column; N] =
        std::array::from_fn(|index| Column::of(headings[index], rows.iter().map(|row| &*row[index])));
    let head = format!("{heading}{}{heading:#}", join(&columns, headings));
    std::iter::once(head)
        .chain(rows.iter().map(|row| join(&columns, row.each_ref().map(|cell| &**cell))))
        .collect()
}

struct Column {
    width: usize,
    numeric: bool,
}

impl Column {
    fn of<'a>(heading: &str, cells: impl Iterator<Item = &'a str>) -> Self {
        let mut column = Self { width: width(heading), numeric: false };
        for (index, cell) in cells.enumerate() {
            column.width = column.width.max(width(cell));
            column.numeric = (index == 0 || column.numeric) && cell.parse::<f64>().is_ok();
        }
        column
    }

    fn padding(&self, cell: &str) -> String {
        " ".repeat(self.width - width(cell))
    }
}

fn join<const N: usize>(columns: &[Column; N], cells: [&str; N]) -> String {
    let mut line = String::new();
    for (column, cell) in columns.iter().zip(cells) {
        if !line.is_empty() {
            line.push_str(GAP);
        }
        let padding = column.padding(cell);
        line.push_str(&if column.numeric { padding + cell } else { cell.to_owned() + &padding });
    }
    line.truncate(line.trim_end().len());
    line
}

/// The number of columns that `text` takes on a terminal.
fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

#[cfg(test)]
mod tests {
    use crate::output::{ColorChoice, Output, Verbosity};

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

    #[test]
    fn table_escapes_line_ends_and_control_characters_in_a_cell() {
        assert_eq!(table(["a"], &[["x\ny\u{1b}[2J"]]), "a\nx\\ny\\u{1b}[2J\n");
    }
}
