//! Formats names with their descriptions.

use super::Paint;
use super::text::{width, wrap};

const INDENT: usize = 2;
const GAP: usize = 2;
/// The least room beside the names that is worth using; with less, a description stands below its name.
const LEAST: usize = 24;

/// The lines of the entries, with descriptions that begin at the same column and are wrapped at `width`.
pub(super) fn lines(
    names: usize,
    entries: &[(String, String)],
    paint: Paint,
    width: Option<usize>,
) -> Vec<String> {
    let beside = width.is_none_or(|width| width >= INDENT + names + GAP + LEAST);
    let column = if beside { INDENT + names + GAP } else { 3 * INDENT };
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(column).max(1));
    entries.iter().flat_map(|entry| entry_lines(entry, paint, column, room, beside)).collect()
}

fn entry_lines(
    (name, text): &(String, String),
    paint: Paint,
    column: usize,
    room: usize,
    beside: bool,
) -> Vec<String> {
    let head = format!("{:INDENT$}{paint}{name}{paint:#}", "");
    let mut wrapped = wrap(text, room).into_iter();
    let first = match wrapped.next().filter(|_| beside) {
        Some(first) => {
            let padding = column.saturating_sub(INDENT + width(name));
            format!("{head}{:padding$}{first}", "")
        }
        None => head,
    };
    let rest = if beside { wrapped.collect() } else { wrap(text, room) };
    std::iter::once(first).chain(rest.into_iter().map(|line| format!("{:column$}{line}", ""))).collect()
}

#[cfg(test)]
mod tests {
    use crate::output::{ColorChoice, Output, Paint, Style, Verbosity};

    fn printed(entries: &[(&str, &str)], width: Option<usize>) -> String {
        let entries: Vec<_> =
            entries.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
        super::lines(4, &entries, Paint(Style::Name), width).iter().for_each(|line| output.line(line));
        output.into_captured().stdout
    }

    #[test]
    fn definitions_are_wrapped_beside_their_names() {
        let text = "the first of many words, and the last of them";
        let wrapped = "  a     the first of many words,\n        and the last of them\n  name\n";
        assert_eq!(printed(&[("a", text), ("name", "")], Some(34)), wrapped);
        assert_eq!(printed(&[("a", text)], None), format!("  a     {text}\n"));
    }

    #[test]
    fn definitions_stand_below_their_names_in_a_narrow_terminal() {
        let text = "words that have no room";
        assert_eq!(printed(&[("a", text)], Some(24)), "  a\n      words that have no\n      room\n");
    }
}
