//! The size and the abilities of the terminal.

use std::io::IsTerminal;
use std::os::fd::AsFd;

/// The widths that output is laid out for; a terminal beyond them is treated like the nearest one.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=200;

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScreenSize {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

/// The terminal behind a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    /// A file, a pipe, or memory.
    None,
    /// A terminal that only prints (`TERM=dumb`).
    Dumb,
    /// A terminal whose cursor can be moved.
    Full,
}

impl Terminal {
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        match (stream.is_terminal(), variable("TERM").as_deref()) {
            (false, _) => Self::None,
            (true, Some("dumb")) => Self::Dumb,
            (true, _) => Self::Full,
        }
    }
}

/// The size of the terminal behind a stream; `COLUMNS` takes precedence over its own width.
pub(super) fn size(stream: &impl AsFd) -> ScreenSize {
    let own = rustix::termios::tcgetwinsize(stream).ok();
    let columns = own.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80);
    let rows = own.map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0).unwrap_or(24);
    let columns = columns_variable().unwrap_or(columns);
    ScreenSize { columns: columns.clamp(*WIDTHS.start(), *WIDTHS.end()), rows }
}

/// The width in `COLUMNS`, within the bounds of the layout.
pub(super) fn columns_variable() -> Option<usize> {
    let columns = variable("COLUMNS")?.trim().parse::<usize>().ok().filter(|columns| *columns > 0)?;
    Some(columns.clamp(*WIDTHS.start(), *WIDTHS.end()))
}

/// Whether `CLICOLOR_FORCE` asks for colours on every stream, and `NO_COLOR` does not forbid them.
pub(super) fn is_color_forced() -> bool {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    is_set("CLICOLOR_FORCE") && !is_set("NO_COLOR")
}

/// Whether the program runs on a machine that builds and tests, where nobody looks at the terminal.
pub(crate) fn is_ci() -> bool {
    variable("CI").is_some_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the terminal is described in the environment, not in a setting"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The sequences of the alternate screen.
pub(super) mod screen {
    /// The alternate screen, without wrapping and without a cursor.
    pub(in crate::output) const ENTER: &str = "\x1b[?1049h\x1b[?7l\x1b[?25l";
    pub(in crate::output) const CLEAR: &str = "\x1b[H\x1b[2J";
    pub(in crate::output) const LEAVE: &str = "\x1b[?25h\x1b[?7h\x1b[?1049l";
}
