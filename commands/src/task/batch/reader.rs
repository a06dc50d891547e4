//! Reads the file of a batch on a thread of its own, piece by piece.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use framework::prelude::*;

use super::piece::{Form, Pieces, Writer};
use super::{csv, ndjson};

/// Opens the file and begins to read it.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn read(form: Form) -> Result<Pieces> {
    let context = format!("reading {}", form.path.display());
    let input: Box<dyn Read + Send> = if form.path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&form.path).with_context(|| context.clone())?)
    };
    let (mut writer, pieces) = Writer::new();
    // Not awaited: reading from a terminal or a pipe may never end, and nothing is lost with the thread.
    tokio::task::spawn_blocking(move || {
        let read = if form.csv {
            csv::read(input, &form, &mut writer)
        } else {
            ndjson::read(input, &form, &mut writer)
        };
        writer.finish(read.context(context));
    });
    Ok(pieces)
}
