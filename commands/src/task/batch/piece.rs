//! The pieces in which a batch file is passed on, and the writer that collects them.

use std::ops::Range;
use std::path::PathBuf;

use framework::prelude::*;
use framework::task::Handler;
use tokio::sync::mpsc;

/// The size in bytes at which a piece is passed on.
const PIECE: usize = 64 * 1024;
/// The number of pieces that may wait for the connection.
const AHEAD: usize = 4;

/// Some tasks of the file, in their order.
#[derive(Default)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: Vec<PieceLine>,
}

/// One line of the file.
pub(super) struct PieceLine {
    /// The number of the line, from 1.
    pub(super) number: u64,
    /// The place of its arguments in [`Piece::bytes`], or the reason why the line is not a task.
    pub(super) args: Result<Range<usize>, String>,
}

/// The format of the file.
pub(super) struct Form {
    pub(super) path: PathBuf,
    /// The separator of the columns of a CSV file; `None` for JSON lines.
    pub(super) separator: Option<u8>,
    /// The length limit of a line, in bytes.
    pub(super) limit: usize,
    /// The handler whose types decide which values of a CSV file are numbers, if this program has it.
    pub(super) handler: Option<&'static Handler>,
}

/// The pieces of a file; ends with the file, or with the first error.
pub(super) type Pieces = mpsc::Receiver<Result<Piece>>;

/// Collects tasks into pieces.
pub(super) struct Writer {
    piece: Piece,
    pieces: mpsc::Sender<Result<Piece>>,
    /// Whether a piece was passed on already.
    is_begun: bool,
}

/// The error that the receiver of the pieces is gone.
#[derive(Debug)]
pub(super) struct Closed;

impl Writer {
    pub(super) fn new() -> (Self, Pieces) {
        let (sender, pieces) = mpsc::channel(AHEAD);
        (Self { piece: Piece::default(), pieces: sender, is_begun: false }, pieces)
    }

    /// The buffer that the next arguments are appended to.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.piece.bytes
    }

    /// Adds a task: the bytes from `start` on.
    pub(super) fn add_task(&mut self, number: u64, start: usize) -> Result<(), Closed> {
        let end = self.piece.bytes.len();
        self.piece.lines.push(PieceLine { number, args: Ok(start..end) });
        self.pass_on(PIECE)
    }

    /// Adds a line that is not a task.
    pub(super) fn add_bad(&mut self, number: u64, reason: impl Into<String>) -> Result<(), Closed> {
        self.piece.lines.push(PieceLine { number, args: Err(reason.into()) });
        self.pass_on(PIECE)
    }

    /// Passes on the rest of the file, and the error that ended it. If nothing was passed on before, the
    /// error alone is: then no batch is opened.
    pub(super) fn finish(mut self, read: Result<()>) {
        let is_empty = self.piece.lines.is_empty() || read.is_err() && !self.is_begun;
        let is_open = is_empty || self.pass_on(0).is_ok();
        if let (Err(error), true) = (read, is_open) {
            // Without a receiver, nobody needs the error.
            let _ = self.pieces.blocking_send(Err(error));
        }
    }

    fn pass_on(&mut self, from: usize) -> Result<(), Closed> {
        /// The memory of a line beside its bytes, roughly.
        const LINE: usize = 64;
        if self.piece.bytes.len() + LINE * self.piece.lines.len() < from {
            return Ok(());
        }
        self.is_begun = true;
        self.pieces.blocking_send(Ok(std::mem::take(&mut self.piece))).map_err(|_| Closed)
    }
}
