//! Measures, cuts and wraps texts by the columns that they take on a terminal.
//!
//! What a reader takes for one character (a letter with its accents, a family of emoji) is never split, and
//! colours go on in the next line.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::paint::{Mark, begins_mark, mark_of};
use super::{Paint, Style};

/// The number of columns that `text` takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    if text.contains(begins_mark) { pieces(text).map(|piece| piece.width).sum() } else { text.width() }
}

/// The text, cut to as many columns.
pub(super) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut room = columns.saturating_sub(1);
    let fits = |piece: &Piece| room.checked_sub(piece.width).map(|rest| room = rest).is_some();
    let kept: String = pieces(text).take_while(fits).map(|piece| piece.text).collect();
    let open = open_style(None, &kept);
    let mut cut = kept + "\u{2026}";
    close(&mut cut, open);
    Cow::Owned(cut)
}

/// Splits a text between words, and between ideographs, into lines of at most `room` columns; a longer word
/// has a line of its own. Line ends stay.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    wrap_by(text, room, false)
}

/// The same, but a longer word is split, too.
pub(super) fn wrap_within(text: &str, room: usize) -> Vec<String> {
    wrap_by(text, room, true)
}

fn wrap_by(text: &str, room: usize, splits_words: bool) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<String> =
        text.split('\n').flat_map(|line| wrap_line(line, room.max(1), splits_words)).collect();
    let mut open = None;
    for line in &mut lines {
        let begins = open;
        open = open_style(open, line);
        if let Some(style) = begins {
            line.insert_str(0, &Paint(style).to_string());
        }
        close(line, open);
    }
    lines
}

fn wrap_line(text: &str, room: usize, splits_words: bool) -> Vec<String> {
    if width(text) <= room {
        return vec![text.to_owned()];
    }
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), 0);
    for atom in atoms(text) {
        let gap = usize::from(atom.is_spaced && used > 0);
        if used > 0 && used + gap + atom.width > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
        } else if gap > 0 {
            line.push(' ');
            used += gap;
        }
        for piece in pieces(&atom.text) {
            if splits_words && used > 0 && used + piece.width > room {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push_str(piece.text);
            used += piece.width;
        }
    }
    lines.push(line);
    lines
}

/// A part of a text that stays in one line if it has room there.
#[derive(Default)]
struct Atom {
    text: String,
    width: usize,
    /// Whether there is a space in front of it.
    is_spaced: bool,
}

fn atoms(text: &str) -> Vec<Atom> {
    let mut atoms: Vec<Atom> = Vec::new();
    let mut is_spaced = false;
    let mut may_join = false;
    for piece in pieces(text) {
        if piece.is_space() {
            is_spaced = true;
            continue;
        }
        let is_mark = piece.width == 0;
        let joins = !is_spaced && (may_join && !piece.is_ideograph() || is_mark || piece.ends_phrase());
        let joins = joins && !atoms.is_empty();
        if !joins {
            atoms.push(Atom { is_spaced, ..Atom::default() });
        }
        if let Some(atom) = atoms.last_mut() {
            atom.text.push_str(piece.text);
            atom.width += piece.width;
        }
        is_spaced = false;
        may_join = if is_mark { may_join || !joins } else { !piece.is_ideograph() };
    }
    atoms
}

/// A mark, or what a reader takes for one character.
struct Piece<'a> {
    text: &'a str,
    /// In columns; a mark has none.
    width: usize,
}

impl Piece<'_> {
    fn is_space(&self) -> bool {
        self.text.chars().all(char::is_whitespace)
    }

    /// Whether a line may end beside it: Korean is split between words.
    fn is_ideograph(&self) -> bool {
        let is_hangul =
            |first| ('\u{1100}'..='\u{11ff}').contains(&first) || ('\u{ac00}'..='\u{d7a3}').contains(&first);
        self.width > 1 && !self.text.starts_with(is_hangul)
    }

    /// Whether no line may begin with it.
    fn ends_phrase(&self) -> bool {
        "\u{ff0c}\u{3002}\u{3001}\u{ff1b}\u{ff1a}\u{ff1f}\u{ff01}\u{ff09}\u{3011}\u{300d}\u{300f}\u{300b}"
            .contains(self.text)
    }
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if let Some((length, _)) = mark_of(rest) {
            let (mark, behind) = rest.split_at(length);
            rest = behind;
            return Some(Piece { text: mark, width: 0 });
        }
        let cluster = rest.graphemes(true).next()?;
        // A mark never belongs to the character before it.
        let end = cluster.char_indices().skip(1).find(|(_, character)| begins_mark(*character));
        let (cluster, behind) = rest.split_at(end.map_or(cluster.len(), |(end, _)| end));
        rest = behind;
        Some(Piece { text: cluster, width: cluster.width() })
    })
}

/// The style that goes on behind the text, if this one goes on in front of it.
fn open_style(mut open: Option<Style>, text: &str) -> Option<Style> {
    if text.contains(begins_mark) {
        for (_, mark) in pieces(text).filter_map(|piece| mark_of(piece.text)) {
            if let Mark::Style(style, begins) = mark {
                open = begins.then_some(style);
            }
        }
    }
    open
}

fn close(line: &mut String, open: Option<Style>) {
    if let Some(style) = open {
        line.push_str(&format!("{:#}", Paint(style)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_counts_columns_and_not_characters() {
        for (text, columns) in [
            ("mail", 4),
            ("队列", 4),
            ("메일", 4),
            ("e\u{301}", 1),
            ("\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}", 2),
            ("\u{1f1e9}\u{1f1ea}", 2),
            ("ﬁ", 1),
        ] {
            assert_eq!(width(text), columns, "{text}");
        }
        assert_eq!(width(&format!("{0}mail{0:#}", Paint(Style::Good))), 4);
    }

    #[test]
    fn cut_never_splits_what_is_one_character() {
        assert_eq!(cut("\u{961f}\u{5217}\u{961f}", 5), "\u{961f}\u{5217}\u{2026}");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 2), "e\u{301}\u{2026}");
        let family = "\u{1f469}\u{200d}\u{1f467}";
        assert_eq!(cut(&format!("{family}{family}"), 3), format!("{family}\u{2026}"));
    }

    #[test]
    fn wrap_splits_between_words_and_between_ideographs() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("一二三四。五六", 8), ["一二三", "四。五六"]);
        assert_eq!(wrap("큐에 있는 작업", 9), ["큐에 있는", "작업"]);
        assert_eq!(wrap("see https://example.com/long now", 10), ["see", "https://example.com/long", "now"]);
        assert_eq!(wrap("first\nsecond", 20), ["first", "second"]);
        assert!(wrap("", 4).is_empty());
    }

    #[test]
    fn wrap_within_splits_long_words_at_the_room() {
        assert_eq!(wrap_within("abcdefg hi", 3), ["abc", "def", "g", "hi"]);
        assert_eq!(wrap_within("一二三", 1), ["一", "二", "三"]);
        for room in 1..30 {
            let text = "tasks 任务队列 of 메일 \u{1f469}\u{200d}\u{1f467}e\u{301} waitingforever";
            for line in wrap_within(text, room) {
                assert!(width(&line) <= room.max(2), "{line:?} at {room}");
            }
        }
    }

    #[test]
    fn wrap_goes_on_with_the_colour_in_the_next_line() {
        let paint = Paint(Style::Good);
        let lines = wrap(&format!("{paint}one two{paint:#} three"), 5);
        assert_eq!(
            lines,
            [format!("{paint}one{paint:#}"), format!("{paint}two{paint:#}"), "three".to_owned()]
        );
    }
}
