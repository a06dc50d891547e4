//! One stream of an output: buffered, and discarded once its reader has closed its end.

use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, Stderr, Stdout, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};

use super::escape::is_control;
use super::paint::{LinkPart, Mark, begins_mark, mark_of};
use super::terminal::{ScreenSize, Terminal, columns_variable, is_color_forced, size};

/// The text that a captured output has printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    pub stdout: String,
    pub stderr: String,
}

/// One stream of an output.
pub(super) struct Sink {
    target: Target,
    pub(super) colored: bool,
    /// The terminal, where each line is written at once.
    pub(super) terminal: Terminal,
    /// The number of lines for which the screen still has room; `None` if lines scroll.
    pub(super) rows: Option<usize>,
    /// The width that a captured output is laid out for.
    columns: Option<usize>,
    /// The part of a link that is written at the moment.
    link: Option<LinkPart>,
    /// The kind of the first error; nothing is written after it.
    failure: Option<io::ErrorKind>,
    /// The first error, unless the reader just closed its end.
    error: Option<io::Error>,
}

enum Target {
    Stdout(BufWriter<Stdout>),
    Stderr(BufWriter<Stderr>),
    Memory(Vec<u8>),
    Other(BufWriter<Box<dyn Write + Send + Sync>>),
}

/// A stream that progress bars of other threads write to, too.
#[derive(Clone)]
pub(super) struct SharedSink(Arc<Mutex<Sink>>);

impl fmt::Debug for SharedSink {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("SharedSink")
    }
}

impl SharedSink {
    pub(super) fn new(sink: Sink) -> Self {
        Self(Arc::new(Mutex::new(sink)))
    }

    /// A panic of another thread leaves at worst half a line: the lock's poison is ignored.
    pub(super) fn lock(&self) -> MutexGuard<'_, Sink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides about the colours of a stream; `anstream` alone would colour a terminal that only prints wherever
/// `CI` is set.
fn choice(colors: ColorChoice, terminal: Terminal, stream: &impl RawStream) -> ColorChoice {
    match colors {
        ColorChoice::Auto if terminal == Terminal::Dumb && !is_color_forced() => ColorChoice::Never,
        ColorChoice::Auto => AutoStream::choice(stream),
        decided => decided,
    }
}

impl Sink {
    pub(super) fn stdout(colors: ColorChoice) -> Self {
        let terminal = Terminal::of(&io::stdout());
        let target = Target::Stdout(BufWriter::with_capacity(32 * 1024, io::stdout()));
        Self::new(target, choice(colors, terminal, &io::stdout()), terminal)
    }

    pub(super) fn stderr(colors: ColorChoice) -> Self {
        let terminal = Terminal::of(&io::stderr());
        let target = Target::Stderr(BufWriter::with_capacity(1024, io::stderr()));
        Self::new(target, choice(colors, terminal, &io::stderr()), terminal)
    }

    pub(super) fn memory(colors: ColorChoice) -> Self {
        Self::new(Target::Memory(Vec::new()), colors, Terminal::None)
    }

    fn new(target: Target, colors: ColorChoice, terminal: Terminal) -> Self {
        let colored = matches!(colors, ColorChoice::Always | ColorChoice::AlwaysAnsi);
        Self { target, colored, terminal, rows: None, columns: None, link: None, failure: None, error: None }
    }

    /// Lays a captured output out for as many columns.
    pub(super) fn set_columns(&mut self, columns: usize) {
        self.columns = Some(columns);
    }

    pub(super) fn is_memory(&self) -> bool {
        matches!(self.target, Target::Memory(_))
    }

    /// The size of the terminal now; `None` if the stream is none.
    pub(super) fn size(&self) -> Option<ScreenSize> {
        match &self.target {
            _ if self.terminal == Terminal::None => None,
            Target::Stdout(_) => Some(size(&io::stdout())),
            Target::Stderr(_) => Some(size(&io::stderr())),
            Target::Memory(_) | Target::Other(_) => None,
        }
    }

    /// Writes to another writer from now on; a captured stream stays as it is.
    pub(super) fn redirect(&mut self, writer: Box<dyn Write + Send + Sync>) {
        if !matches!(self.target, Target::Memory(_)) {
            self.flush();
            self.target = Target::Other(BufWriter::new(writer));
        }
    }

    /// The width to lay out text for; `None` if nothing limits it.
    pub(super) fn width(&self) -> Option<usize> {
        match self.target {
            Target::Memory(_) => self.columns,
            Target::Stdout(_) | Target::Stderr(_) | Target::Other(_) => {
                self.size().map(|size| size.columns).or_else(columns_variable)
            }
        }
    }

    /// Writes a text, escaped but for its line ends, tabs, and the colours of this program.
    pub(super) fn write(&mut self, text: fmt::Arguments) {
        self.try_write(|sink| {
            let mut escaped = Escaped {
                target: sink.target.writer(),
                colored: sink.colored,
                has_links: sink.colored && sink.terminal == Terminal::Full,
                link: &mut sink.link,
                rows: &mut sink.rows,
                error: None,
            };
            match (escaped.write_fmt(text), escaped.error) {
                (_, Some(error)) => Err(error),
                // A value that fails to format itself is cut off.
                (_, None) => Ok(()),
            }
        });
    }

    /// Writes a text of this program itself, control sequences included.
    pub(super) fn write_raw(&mut self, text: &str) {
        self.try_write(|sink| sink.target.writer().write_all(text.as_bytes()));
    }

    pub(super) fn flush(&mut self) {
        if self.failure.is_none() {
            let flushed = self.target.writer().flush();
            self.note(flushed);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.failure == Some(io::ErrorKind::BrokenPipe)
    }

    /// The first error, unless the reader just closed its end.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// The text of a captured output so far, which is empty then.
    pub(super) fn take_text(&mut self) -> String {
        match &mut self.target {
            Target::Memory(bytes) => String::from_utf8_lossy(&std::mem::take(bytes)).into_owned(),
            Target::Stdout(_) | Target::Stderr(_) | Target::Other(_) => String::new(),
        }
    }

    fn try_write(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.failure.is_some() {
            return;
        }
        let mut written = write(self);
        if written.is_ok() && self.terminal != Terminal::None && self.rows.is_none() {
            written = self.target.writer().flush();
        }
        self.note(written);
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.failure = Some(error.kind());
            self.error = Some(error).filter(|error| error.kind() != io::ErrorKind::BrokenPipe);
        }
    }
}

impl Target {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(stream) => stream,
            Self::Stderr(stream) => stream,
            Self::Memory(bytes) => bytes,
            Self::Other(writer) => writer,
        }
    }
}

/// The one writer of text: whatever a terminal would obey is shown instead, and marks become colours.
struct Escaped<'a> {
    target: &'a mut dyn Write,
    colored: bool,
    /// Whether links are shown as such.
    has_links: bool,
    link: &'a mut Option<LinkPart>,
    rows: &'a mut Option<usize>,
    error: Option<io::Error>,
}

impl Escaped<'_> {
    /// Writes the special character that the text begins with, and returns its length.
    fn special(&mut self, text: &str, first: char) -> io::Result<usize> {
        if first == '\n' {
            self.target.write_all(b"\n")?;
            *self.rows = self.rows.map(|rows| rows.saturating_sub(1));
            return Ok(1);
        }
        if let Some((length, mark)) = mark_of(text) {
            match mark {
                Mark::Style(style, begins) => self.style(anstyle::Style::from(style), begins)?,
                Mark::Link(part) => self.link(part)?,
            }
            return Ok(length);
        }
        if self.is_hidden() {
            return Ok(first.len_utf8());
        }
        write!(self.target, "{}", first.escape_default())?;
        Ok(first.len_utf8())
    }

    fn style(&mut self, style: anstyle::Style, begins: bool) -> io::Result<()> {
        match (self.colored && !self.is_hidden(), begins) {
            (true, true) => write!(self.target, "{style}"),
            (true, false) => write!(self.target, "{style:#}"),
            (false, _) => Ok(()),
        }
    }

    /// Begins a part of a link: as a terminal reads it, or as `text (address)`.
    fn link(&mut self, part: LinkPart) -> io::Result<()> {
        *self.link = Some(part).filter(|part| *part != LinkPart::End);
        self.target.write_all(match (self.has_links, part) {
            (true, LinkPart::Target) => b"\x1b]8;;",
            (true, LinkPart::Text) => b"\x1b\\",
            (true, LinkPart::Behind) => b"\x1b]8;;\x1b\\",
            (false, LinkPart::Behind) => b" (",
            (false, LinkPart::End) => b")",
            (true, LinkPart::End) | (false, LinkPart::Target | LinkPart::Text) => b"",
        })
    }

    /// Whether this part of a link is not shown: the address stands in it twice.
    fn is_hidden(&self) -> bool {
        match self.link {
            Some(LinkPart::Target) => !self.has_links,
            Some(LinkPart::Behind) => self.has_links,
            Some(LinkPart::Text | LinkPart::End) | None => false,
        }
    }

    fn write_plain(&mut self, text: &str) -> io::Result<()> {
        if self.is_hidden() { Ok(()) } else { self.target.write_all(text.as_bytes()) }
    }

    fn write_text(&mut self, mut text: &str) -> io::Result<()> {
        let is_special = |c: &(usize, char)| c.1 != '\t' && is_control(c.1) || begins_mark(c.1);
        while *self.rows != Some(0) {
            let Some((start, first)) = text.char_indices().find(is_special) else {
                return self.write_plain(text);
            };
            self.write_plain(&text[..start])?;
            text = &text[start..];
            text = &text[self.special(text, first)?..];
        }
        Ok(())
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_text(text).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}
