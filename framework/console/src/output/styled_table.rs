//! Tables with frames, whose cells are wrapped.

use super::text::{width, wrap_within};
use super::{Paint, Style, escape_control};

/// The frame of a [`Table`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TableStyle {
    /// Lines of `+`, `-` and `|`.
    #[default]
    Default,
    /// No lines at all.
    Compact,
    /// Markdown, which is never wrapped or cut.
    Markdown,
    /// Only a line of `=` above, below and under the headings.
    Borderless,
    /// Lines of box characters.
    Box,
    /// Box characters with double lines outside.
    BoxDouble,
}

/// The side of its column at which a cell stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Align {
    #[default]
    Left,
    Right,
    Center,
}

/// A table with headings and a frame. Cells may have several lines, and are wrapped where the terminal is too
/// narrow; in one that is too narrow even for that, each row becomes a block of named values.
///
/// ```
/// # use framework::output::{Align, ColorChoice, Output, Table, TableStyle, Verbosity};
/// # let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
/// let table = Table::new(["queue", "waiting"])
///     .style(TableStyle::Box)
///     .align(1, Align::Right)
///     .row(["mail", "1200"])
///     .row(["thumbnails", "7"]);
/// output.print_table(&table);
/// # assert_eq!(output.into_captured().stdout, "\
/// # ┌────────────┬─────────┐
/// # │ queue      │ waiting │
/// # ├────────────┼─────────┤
/// # │ mail       │    1200 │
/// # │ thumbnails │       7 │
/// # └────────────┴─────────┘
/// # ");
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Row>,
    style: TableStyle,
    aligns: Vec<Align>,
}

#[derive(Debug, Clone)]
enum Row {
    Cells(Vec<String>),
    Separator,
}

impl Table {
    pub fn new<H: Into<String>>(headings: impl IntoIterator<Item = H>) -> Self {
        let headings: Vec<String> = headings.into_iter().map(Into::into).collect();
        let aligns = vec![Align::default(); headings.len()];
        Self { headings, rows: Vec::new(), style: TableStyle::default(), aligns }
    }

    #[must_use]
    pub fn style(mut self, style: TableStyle) -> Self {
        self.style = style;
        self
    }

    /// Sets the side of a column, counted from 0; one that there is not changes nothing.
    #[must_use]
    pub fn align(mut self, column: usize, align: Align) -> Self {
        if let Some(own) = self.aligns.get_mut(column) {
            *own = align;
        }
        self
    }

    /// Adds a row; missing cells are empty, and those beyond the headings are left out.
    #[must_use]
    pub fn row<C: Into<String>>(mut self, cells: impl IntoIterator<Item = C>) -> Self {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.headings.len(), String::new());
        self.rows.push(Row::Cells(cells));
        self
    }

    /// Adds a line between rows; not in Markdown, which has none, nor in a compact table.
    #[must_use]
    pub fn separator(mut self) -> Self {
        self.rows.push(Row::Separator);
        self
    }

    /// The lines of the table, at most `width` columns wide.
    pub(super) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let frame = self.style.frame();
        let width = width.filter(|_| self.style != TableStyle::Markdown);
        let Some(columns) = self.columns(&frame, width) else {
            return self.blocks(width.unwrap_or(usize::MAX));
        };
        let layout = Layout { frame, columns, aligns: &self.aligns };
        let mut lines: Vec<String> = layout.frame.top.map(|rule| layout.rule(rule)).into_iter().collect();
        let heading = Paint(Style::Heading);
        let headings: Vec<_> = self.headings.iter().map(|name| self.cell_lines(name)).collect();
        lines.extend(layout.row(&headings, Some(heading)));
        lines.extend(layout.frame.middle.map(|rule| layout.rule(rule)));
        for row in &self.rows {
            match row {
                Row::Cells(cells) => {
                    let cells: Vec<_> = cells.iter().map(|cell| self.cell_lines(cell)).collect();
                    lines.extend(layout.row(&cells, None));
                }
                Row::Separator if self.style == TableStyle::Markdown => {}
                Row::Separator => lines.extend(layout.frame.middle.map(|rule| layout.rule(rule))),
            }
        }
        lines.extend(layout.frame.bottom.map(|rule| layout.rule(rule)));
        lines
    }

    /// The lines of a cell, escaped.
    fn cell_lines(&self, cell: &str) -> Vec<String> {
        if self.style == TableStyle::Markdown {
            return vec![escape_control(&cell.replace('|', "\\|").replace('\n', "<br>")).into_owned()];
        }
        cell.split('\n').map(|line| escape_control(line).into_owned()).collect()
    }

    fn rows(&self) -> impl Iterator<Item = &[String]> {
        self.rows.iter().filter_map(|row| match row {
            Row::Cells(cells) => Some(cells.as_slice()),
            Row::Separator => None,
        })
    }

    /// The width of each column; `None` if the table does not fit.
    fn columns(&self, frame: &Frame, limit: Option<usize>) -> Option<Vec<usize>> {
        let widest = |cell: &String| self.cell_lines(cell).iter().map(|line| width(line)).max().unwrap_or(0);
        let mut columns: Vec<usize> = self.headings.iter().map(widest).collect();
        for row in self.rows() {
            for (column, cell) in columns.iter_mut().zip(row) {
                *column = widest(cell).max(*column);
            }
        }
        let least: Vec<usize> = columns.iter().map(|column| (*column).min(LEAST)).collect();
        let total = |columns: &[usize]| columns.iter().sum::<usize>() + frame.overhead(columns.len());
        while limit.is_some_and(|limit| total(&columns) > limit) {
            let wide = columns.iter_mut().zip(&least).filter(|(column, least)| **column > **least);
            *wide.max_by_key(|(column, _)| **column)?.0 -= 1;
        }
        Some(columns)
    }

    /// A block for each row: its values that are there, each behind its heading.
    fn blocks(&self, width: usize) -> Vec<String> {
        let heading = Paint(Style::Heading);
        let mut lines = Vec::new();
        for row in self.rows() {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            let values = self.headings.iter().zip(row).filter(|(_, value)| !value.is_empty());
            lines.extend(values.flat_map(|(name, value)| {
                let value = value.split('\n').map(escape_control).collect::<Vec<_>>().join(" ");
                wrap_within(&format!("{heading}{}{heading:#}: {value}", escape_control(name)), width)
            }));
        }
        lines
    }
}

/// The width below which no column is made narrower.
const LEAST: usize = 12;

/// The characters of a table's lines.
struct Frame {
    top: Option<Rule>,
    middle: Option<Rule>,
    bottom: Option<Rule>,
    /// What stands before, between and behind the cells.
    cell: [&'static str; 3],
}

/// A line across: its beginning, its filling, what stands between two columns, and its end.
type Rule = [&'static str; 4];

impl Frame {
    fn overhead(&self, columns: usize) -> usize {
        let [before, between, behind] = self.cell.map(width);
        before + between * columns.saturating_sub(1) + behind
    }
}

impl TableStyle {
    fn frame(self) -> Frame {
        let all = |rule| (Some(rule), Some(rule), Some(rule));
        let ((top, middle, bottom), cell) = match self {
            Self::Default => (all(["+-", "-", "-+-", "-+"]), ["| ", " | ", " |"]),
            Self::Compact => ((None, None, None), ["", "  ", ""]),
            Self::Markdown => ((None, Some(["| ", "-", " | ", " |"]), None), ["| ", " | ", " |"]),
            Self::Borderless => (all(["=", "=", " = ", "="]), [" ", "   ", " "]),
            Self::Box => (
                (
                    Some(["┌─", "─", "─┬─", "─┐"]),
                    Some(["├─", "─", "─┼─", "─┤"]),
                    Some(["└─", "─", "─┴─", "─┘"]),
                ),
                ["│ ", " │ ", " │"],
            ),
            Self::BoxDouble => (
                (
                    Some(["╔═", "═", "═╤═", "═╗"]),
                    Some(["╠═", "═", "═╪═", "═╣"]),
                    Some(["╚═", "═", "═╧═", "═╝"]),
                ),
                ["║ ", " │ ", " ║"],
            ),
        };
        Frame { top, middle, bottom, cell }
    }
}

struct Layout<'a> {
    frame: Frame,
    columns: Vec<usize>,
    aligns: &'a [Align],
}

impl Layout<'_> {
    fn rule(&self, [before, fill, between, behind]: Rule) -> String {
        let filled: Vec<_> = self.columns.iter().map(|column| fill.repeat(*column)).collect();
        format!("{before}{}{behind}", filled.join(between))
    }

    /// The lines of a row: as many as its tallest cell has.
    fn row(&self, cells: &[Vec<String>], paint: Option<Paint>) -> Vec<String> {
        let wrap = |(lines, column): (&Vec<String>, &usize)| -> Vec<String> {
            lines
                .iter()
                .flat_map(
                    |line| if line.is_empty() { vec![String::new()] } else { wrap_within(line, *column) },
                )
                .collect()
        };
        let cells: Vec<Vec<String>> = cells.iter().zip(&self.columns).map(wrap).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        (0..height).map(|line| self.line(&cells, line, paint)).collect()
    }

    fn line(&self, cells: &[Vec<String>], line: usize, paint: Option<Paint>) -> String {
        let [before, between, behind] = self.frame.cell;
        let cell = |(index, lines): (usize, &Vec<String>)| {
            let text = lines.get(line).map(String::as_str).unwrap_or_default();
            self.cell(text, index, paint)
        };
        let cells: Vec<_> = cells.iter().enumerate().map(cell).collect();
        let line = format!("{before}{}{behind}", cells.join(between));
        line.trim_end().to_owned()
    }

    fn cell(&self, text: &str, index: usize, paint: Option<Paint>) -> String {
        let room = self.columns[index].saturating_sub(width(text));
        let left = match self.aligns[index] {
            Align::Left => 0,
            Align::Right => room,
            Align::Center => room / 2,
        };
        let painted = match paint {
            Some(paint) if !text.is_empty() => format!("{paint}{text}{paint:#}"),
            _ => text.to_owned(),
        };
        format!("{:left$}{painted}{:right$}", "", "", right = room - left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(style: TableStyle) -> Table {
        Table::new(["function", "what it is for"])
            .style(style)
            .row(["send_mail", "Sends one mail"])
            .separator()
            .row(["缩略图", "Makes 图片 smaller, a few at a time"])
    }

    fn shown(table: &Table, width: usize) -> String {
        let heading = Paint(Style::Heading);
        let lines = table.lines(Some(width)).join("\n");
        lines.replace(&heading.to_string(), "").replace(&format!("{heading:#}"), "")
    }

    #[test]
    fn table_has_the_frame_of_its_style_and_wraps_its_cells() {
        let wanted = [
            (TableStyle::Default, include_str!("styled_table/default.txt")),
            (TableStyle::Compact, include_str!("styled_table/compact.txt")),
            (TableStyle::Markdown, include_str!("styled_table/markdown.txt")),
            (TableStyle::Borderless, include_str!("styled_table/borderless.txt")),
            (TableStyle::Box, include_str!("styled_table/box.txt")),
            (TableStyle::BoxDouble, include_str!("styled_table/box-double.txt")),
        ];
        for (style, text) in wanted {
            assert_eq!(shown(&table(style), 40), text.trim_end(), "{style:?}");
        }
    }

    #[test]
    fn table_never_exceeds_the_width() {
        for columns in 12..120 {
            let table = table(TableStyle::Box);
            for line in table.lines(Some(columns)) {
                assert!(width(&line) <= columns, "{columns}: {line:?}");
            }
        }
    }

    #[test]
    fn table_becomes_blocks_where_no_column_has_room() {
        let shown = shown(&table(TableStyle::Default).row(["", "x"]), 12);
        let first = "function:\nsend_mail\nwhat it is\nfor: Sends\none mail\n\nfunction: 缩\n略图\n";
        assert!(shown.starts_with(first) && shown.ends_with("\n\nwhat it is\nfor: x"), "{shown}");
    }

    #[test]
    fn table_escapes_control_characters_and_aligns_cells() {
        let table = Table::new(["a", "b", "c"]).style(TableStyle::Compact);
        let table = table.align(0, Align::Right).align(1, Align::Center).row(["1\u{1b}", "2", "x\ny"]);
        assert_eq!(shown(&table, 80), "      a  b  c\n1\\u{1b}  2  x\n            y");
    }
}
