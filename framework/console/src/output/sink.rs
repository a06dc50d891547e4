//! One stream of an output: buffered, and silent once its reader has gone.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Stderr, Stdout, Write};

use super::Colours;

/// What a captured output has printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    pub stdout: String,
    pub stderr: String,
}

pub(super) struct Sink {
    target: Target,
    pub(super) coloured: bool,
    /// Whether a person watches, so that each line is written at once.
    pub(super) terminal: bool,
    /// The first failure; nothing is written after it.
    failure: Option<io::ErrorKind>,
    error: Option<io::Error>,
}

enum Target {
    Stdout(BufWriter<Stdout>),
    Stderr(BufWriter<Stderr>),
    Memory(Vec<u8>),
}

impl Sink {
    pub(super) fn stdout(colours: Colours) -> Self {
        let terminal = io::stdout().is_terminal();
        Self::new(Target::Stdout(BufWriter::with_capacity(32 * 1024, io::stdout())), colours, terminal)
    }

    pub(super) fn stderr(colours: Colours) -> Self {
        let terminal = io::stderr().is_terminal();
        Self::new(Target::Stderr(BufWriter::with_capacity(1024, io::stderr())), colours, terminal)
    }

    pub(super) fn memory(coloured: bool) -> Self {
        Self::new(Target::Memory(Vec::new()), Colours::Auto, coloured)
    }

    fn new(target: Target, colours: Colours, terminal: bool) -> Self {
        let coloured = match colours {
            Colours::Auto => terminal,
            Colours::Always => true,
            Colours::Never => false,
        };
        Self { target, coloured, terminal, failure: None, error: None }
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

    /// What went wrong, unless it was only the reader who left.
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
