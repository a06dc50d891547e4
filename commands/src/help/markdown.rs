//! Shows Markdown on a terminal: headings, paragraphs, lists, tables and code.

use framework::output::{Style, Table, TableStyle, wrap};
use framework::prelude::*;

/// What has been read of a paragraph or a table.
#[derive(Default)]
struct Reader {
    paragraph: String,
    rows: Vec<Vec<String>>,
    in_code: bool,
}

/// Prints a text, wrapped at the width of the terminal.
pub(super) fn print(text: &str, output: &mut Output) {
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.read(line, output);
    }
    reader.end(output);
}

impl Reader {
    fn read(&mut self, line: &str, output: &mut Output) {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            self.end(output);
            self.in_code = !self.in_code;
        } else if self.in_code {
            output.line(format_args!("    {line}").to_string().trim_end());
        } else if line.is_empty() {
            self.end(output);
            output.line("");
        } else if let Some(heading) = heading(line) {
            self.end(output);
            let style = output.style(Style::Heading);
            output.line(format_args!("{style}{}{style:#}", plain(heading)));
        } else if let Some(row) = line.strip_prefix('|') {
            self.rows.push(cells(row));
        } else {
            if trimmed.starts_with("- ") {
                self.end(output);
            } else if !self.paragraph.is_empty() {
                self.paragraph.push(' ');
            }
            self.paragraph.push_str(trimmed);
        }
    }

    /// Prints what has been read.
    fn end(&mut self, output: &mut Output) {
        let paragraph = std::mem::take(&mut self.paragraph);
        for line in wrap(&plain(&paragraph), output.width().unwrap_or(usize::MAX)) {
            output.line(line);
        }
        let mut rows = std::mem::take(&mut self.rows).into_iter();
        let Some(headings) = rows.next() else { return };
        let is_rule =
            |row: &Vec<String>| row.iter().all(|cell| cell.chars().all(|letter| "-: ".contains(letter)));
        let table = Table::new(headings).style(TableStyle::Compact);
        output.print_table(&rows.filter(|row| !is_rule(row)).fold(table, Table::row));
    }
}

fn heading(line: &str) -> Option<&str> {
    line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
}

/// The cells of a row, without the line in front of it.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim_end().strip_suffix('|').unwrap_or(row);
    let joined = row.replace("\\|", "\u{0}");
    joined.split('|').map(|cell| plain(&cell.replace('\u{0}', "|")).trim().to_owned()).collect()
}

/// The text without the signs for emphasis and code, and links as their text.
fn plain(text: &str) -> String {
    let text = text.replace("**", "").replace('`', "");
    let mut shown = String::new();
    let mut rest = text.as_str();
    while let Some((before, link)) = rest.split_once('[') {
        shown.push_str(before);
        let parts = link.split_once("](").and_then(|(name, target)| Some((name, target.split_once(')')?)));
        match parts {
            Some((name, (target, behind))) if !name.contains(['[', ']']) => {
                shown.push_str(name);
                if target.starts_with("http") {
                    shown.push_str(&format!(" ({target})"));
                }
                rest = behind;
            }
            _ => {
                shown.push('[');
                rest = link;
            }
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use framework::output::{ColorChoice, Verbosity};

    use super::*;

    #[test]
    fn markdown_is_shown_as_text() {
        let text = "## Head\n\nOne **two**\n`three` [four](#five) [six](https://seven.example).\n\n| a | b |\n|---|---|\n\
                    | `x\\|y` | 2 |\n\n```sh\n$ run [it](now)\n```\n- item\n  goes on\n- next";
        let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
        print(text, &mut output);
        let shown = "Head\n\nOne two three four six (https://seven.example).\n\na    b\nx|y  2\n\n    $ run [it](now)\n\
                     - item goes on\n- next\n";
        assert_eq!(output.into_captured().stdout, shown);
    }
}
