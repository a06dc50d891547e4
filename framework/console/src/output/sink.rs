//! One stream of an output: buffered, and discarded once its reader has closed its end.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Stderr, Stdout, Write};

use anstream::{AutoStream, ColorChoice};

use super::Style;

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
    /// Whether the stream is a terminal, where each line is written at once.
    pub(super) terminal: bool,
    /// The kind of the first error; nothing is written after it.
    failure: Option<io::ErrorKind>,
    /// The first error, unless the reader just closed its end.
    error: Option<io::Error>,
}

enum Target {
    Stdout(BufWriter<Stdout>),
    Stderr(BufWriter<Stderr>),
    Memory(Vec<u8>),
}

impl Sink {
    pub(super) fn stdout(colors: ColorChoice) -> Self {
        let colors = if colors == ColorChoice::Auto { AutoStream::choice(&io::stdout()) } else { colors };
        let target = Target::Stdout(BufWriter::with_capacity(32 * 1024, io::stdout()));
        Self::new(target, colors, io::stdout().is_terminal())
    }

    pub(super) fn stderr(colors: ColorChoice) -> Self {
        let colors = if colors == ColorChoice::Auto { AutoStream::choice(&io::stderr()) } else { colors };
        let target = Target::Stderr(BufWriter::with_capacity(1024, io::stderr()));
        Self::new(target, colors, io::stderr().is_terminal())
    }

    pub(super) fn memory(colors: ColorChoice) -> Self {
        Self::new(Target::Memory(Vec::new()), colors, colors == ColorChoice::Always)
    }

    fn new(target: Target, colors: ColorChoice, terminal: bool) -> Self {
        let colored = matches!(colors, ColorChoice::Always | ColorChoice::AlwaysAnsi);
        Self { target, colored, terminal, failure: None, error: None }
    }

    /// The colours of `style`; none where the stream has no colours.
    pub(super) fn style(&self, style: Style) -> anstyle::Style {
        if self.colored { style.into() } else { anstyle::Style::new() }
    }

    pub(super) fn write(&mut self, text: fmt::Arguments) {
        if self.failure.is_some() {
            return;
        }
        let mut written = self.target.writer().write_fmt(text);
        if written.is_ok() && self.terminal {
            written = self.target.writer().flush();
        }
        self.note(written);
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

    pub(super) fn into_text(self) -> String {
        match self.target {
            Target::Memory(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Target::Stdout(_) | Target::Stderr(_) => String::new(),
        }
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
        }
    }
}
