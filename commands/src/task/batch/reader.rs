//! The file of a batch, read on a thread of its own, piece by piece, as the arguments of tasks.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use framework::prelude::*;
use framework::task::Handler;
use tokio::sync::mpsc;

use super::{csv_rows, ndjson};

/// A piece is handed on when it holds so many bytes.
const PIECE: usize = 64 * 1024;
/// How many pieces may wait for the connection.
const AHEAD: usize = 4;

/// Some tasks of the file, in their order.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

/// One task of the file.
pub(super) struct Entry {
    /// From 1.
    pub(super) line: u64,
    /// Where its arguments are in [`Piece::bytes`], or why the line is none.
    pub(super) args: Result<Range<usize>, String>,
}

/// How the file is to be read.
pub(super) struct Form {
    pub(super) path: PathBuf,
    pub(super) csv: bool,
    /// The longest line, in bytes.
    pub(super) limit: usize,
    /// What tells which values of a CSV file are numbers, if this program knows the function.
    pub(super) handler: Option<&'static Handler>,
}

/// The pieces as they come; ends with the file, or with the first error.
pub(super) type Pieces = mpsc::Receiver<Result<Piece>>;

/// Collects tasks into pieces.
pub(super) struct Writer {
    piece: Piece,
    pieces: mpsc::Sender<Result<Piece>>,
}

/// Nobody wants to have more.
#[derive(Debug)]
pub(super) struct Closed;

/// Opens the file and begins to read it.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn read(form: Form) -> Result<Pieces> {
    let input: Box<dyn Read + Send> = match form.path == Path::new("-") {
        true => Box::new(io::stdin()),
        false => {
            Box::new(File::open(&form.path).with_context(|| format!("reading {}", form.path.display()))?)
        }
    };
    let (sender, pieces) = mpsc::channel(AHEAD);
    // Not waited for: a read of a terminal or a pipe may take for ever, and nothing is lost with it.
    tokio::task::spawn_blocking(move || {
        let mut writer = Writer { piece: Piece::default(), pieces: sender };
        let read = match form.csv {
            true => csv_rows::read(input, &form, &mut writer),
            false => ndjson::read(input, &form, &mut writer),
        };
        writer.finish(read.with_context(|| format!("reading {}", form.path.display())));
    });
    Ok(pieces)
}

impl Writer {
    /// Where the next arguments are written.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.piece.bytes
    }

    /// The bytes written from `start` on are a task.
    pub(super) fn good(&mut self, line: u64, start: usize) -> Result<(), Closed> {
        let end = self.piece.bytes.len();
        self.piece.entries.push(Entry { line, args: Ok(start..end) });
        self.hand_on(PIECE)
    }

    /// A line is no task.
    pub(super) fn bad(&mut self, line: u64, why: impl Into<String>) -> Result<(), Closed> {
        self.piece.entries.push(Entry { line, args: Err(why.into()) });
        self.hand_on(PIECE)
    }

    fn hand_on(&mut self, from: usize) -> Result<(), Closed> {
        /// What an entry takes beside its bytes, about.
        const ENTRY: usize = 64;
        if self.piece.bytes.len() + ENTRY * self.piece.entries.len() < from {
            return Ok(());
        }
        self.pieces.blocking_send(Ok(std::mem::take(&mut self.piece))).map_err(|_| Closed)
    }

    fn finish(mut self, read: Result<()>) {
        let is_wanted = self.piece.entries.is_empty() || self.hand_on(0).is_ok();
        if let (Err(error), true) = (read, is_wanted) {
            // Nobody who waits is as good.
            drop(self.pieces.blocking_send(Err(error)));
        }
    }
}
