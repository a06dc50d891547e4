//! Reads the file of a batch on a thread of its own, piece by piece.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use framework::prelude::*;

use super::piece::{Form, Pieces, Writer};
use super::{csv, ndjson};

/// Begins to read the file; the error of one that cannot be opened comes with the pieces.
pub(super) fn read(form: Form) -> Pieces {
    let (mut writer, pieces) = Writer::new();
    // Not awaited: opening a named pipe, and reading from it or a terminal, may never end; nothing is lost
    // with the thread.
    tokio::task::spawn_blocking(move || {
        let read = open(&form.path).and_then(|input| match form.separator {
            Some(separator) => csv::read(input, separator, &form, &mut writer),
            None => ndjson::read(input, &form, &mut writer),
        });
        writer.finish(read.with_context(|| format!("reading {}", form.path.display())));
    });
    pieces
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path == Path::new("-") { Ok(Box::new(io::stdin())) } else { Ok(Box::new(File::open(path)?)) }
}
