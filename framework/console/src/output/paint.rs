//! Colours and links within a text, written as marks that no text from outside can contain.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

use super::Style;

/// The beginning of a colour in a text, or its end with `{paint:#}`:
/// `format_args!("{paint}{text}{paint:#}")`.
///
/// Only an [`Output`](super::Output) makes it visible, on a stream that has colours; elsewhere it is nothing.
#[derive(Debug, Clone, Copy)]
pub struct Paint(pub(super) Style);

impl Paint {
    /// The colours of a style, as [`Output::style`](super::Output::style) has them.
    pub const fn of(style: Style) -> Self {
        Self(style)
    }
}

impl fmt::Display for Paint {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        Mark::Style(self.0, !formatter.alternate()).fmt(formatter)
    }
}

/// A link: where a terminal can show it, the text that leads to the address; elsewhere the text and, in
/// parentheses, the address.
///
/// ```
/// # use framework::output::{ColorChoice, Link, Output, Verbosity};
/// let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
/// output.line(Link::new("the manual", "https://example.com/manual"));
/// assert_eq!(output.into_captured().stdout, "the manual (https://example.com/manual)\n");
/// ```
#[derive(Debug, Clone)]
pub struct Link {
    text: String,
    address: String,
}

impl Link {
    pub fn new(text: impl Into<String>, address: impl Into<String>) -> Self {
        Self { text: text.into(), address: address.into() }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self { text, address } = self;
        if text == address {
            return formatter.write_str(text);
        }
        let [target, shown, behind, end] =
            [LinkPart::Target, LinkPart::Text, LinkPart::Behind, LinkPart::End].map(Mark::Link);
        write!(formatter, "{target}{address}{shown}{text}{behind}{address}{end}")
    }
}

/// A mark within a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The beginning of a style with `true`, or its end.
    Style(Style, bool),
    Link(LinkPart),
}

/// The parts of a link, each of which goes to the next mark: the address, the text, and the address again, of
/// which a stream shows only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkPart {
    Target,
    Text,
    Behind,
    End,
}

impl LinkPart {
    const ALL: [Self; 4] = [Self::Target, Self::Text, Self::Behind, Self::End];
}

impl Mark {
    fn number(self) -> u32 {
        match self {
            Self::Style(style, begins) => 2 * style as u32 + u32::from(!begins),
            Self::Link(part) => 2 * Style::ALL.len() as u32 + part as u32,
        }
    }

    fn numbered(number: u32) -> Option<Self> {
        let number = number as usize;
        match Style::ALL.get(number / 2) {
            Some(style) => Some(Self::Style(*style, number % 2 == 0)),
            None => LinkPart::ALL.get(number - 2 * Style::ALL.len()).copied().map(Self::Link),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        // In one piece: that is how it is found again.
        formatter.write_str(&marks()[self.number() as usize])
    }
}

/// The number of characters of the key in front of every mark: sixty bits.
const KEY_LENGTH: u32 = 12;

/// The key of all marks. It is made of noncharacters, and differs from process to process, so that nobody
/// else can write one.
fn key() -> &'static str {
    static KEY: OnceLock<String> = OnceLock::new();
    KEY.get_or_init(|| {
        let random = RandomState::new().build_hasher().finish();
        (0..KEY_LENGTH).map(|place| digit((random >> (5 * place) & 31) as u32)).collect()
    })
}

/// The texts of all marks, by their numbers.
fn marks() -> &'static [String] {
    static MARKS: OnceLock<Vec<String>> = OnceLock::new();
    MARKS.get_or_init(|| {
        let count = (2 * Style::ALL.len() + LinkPart::ALL.len()) as u32;
        (0..count).map(|number| format!("{}{}", key(), digit(number))).collect()
    })
}

/// The first of the 32 noncharacters that Unicode leaves to the inside of programs.
const FIRST: u32 = 0xfdd0;

fn digit(value: u32) -> char {
    char::from_u32(FIRST + value).expect("the noncharacters are characters of Rust")
}

/// Whether a mark may begin with the character.
pub(super) fn begins_mark(character: char) -> bool {
    (FIRST..FIRST + 32).contains(&u32::from(character))
}

/// The mark that the text begins with, and its length.
pub(super) fn mark_of(text: &str) -> Option<(usize, Mark)> {
    let last = text.strip_prefix(key())?.chars().next().filter(|last| begins_mark(*last))?;
    Some((key().len() + last.len_utf8(), Mark::numbered(u32::from(last) - FIRST)?))
}
