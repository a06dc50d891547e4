//! Reads files and standard input that become arguments, within a bound.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use rustix::fs::OFlags;

/// The size limit of an argument in bytes; the server's own limit, `package_max_length`, is usually lower.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Reads a regular file as text.
///
/// # Errors
/// When it is anything else, such as a device or a named pipe, which might never end; is too long; or is not
/// UTF-8.
pub(crate) fn read_file(path: &str) -> io::Result<String> {
    // Opening a named pipe would otherwise wait for its writer.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        let kind = match kind {
            _ if kind.is_dir() => "a directory",
            _ if kind.is_fifo() => "a named pipe",
            _ if kind.is_socket() => "a socket",
            _ => "a device",
        };
        return Err(io::Error::other(format!("it is {kind}, not a regular file")));
    }
    text(read(file)?)
}

/// Reads all of standard input as text.
///
/// # Errors
/// When it cannot be read, is too long, or is not UTF-8.
pub(crate) fn read_standard_input() -> io::Result<String> {
    text(read(io::stdin().lock())?)
}

fn read(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::other(format!("it is longer than {} MB", LIMIT / 1024 / 1024)));
    }
    Ok(bytes)
}

/// The text without a byte order mark, which editors put in front of UTF-8.
fn text(mut bytes: Vec<u8>) -> io::Result<String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to() + 1;
        io::Error::other(format!("it is not UTF-8 from byte {place} on"))
    })
}
