//! Whether a program needs a loader, which a machine may not have.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use framework::prelude::*;

/// The bytes at the beginning that hold the headers.
const HEAD: u64 = 4096;
/// The places of the table of segments, the size of an entry, and their number, in the header of 64 bits.
const TABLE: usize = 32;
const ENTRY_SIZE: usize = 54;
const ENTRY_COUNT: usize = 56;
/// The type of a segment that names a loader.
const LOADER: u32 = 3;

/// # Errors
/// The file is no program of Linux with 64 bits, or one that needs a loader and libraries.
pub(super) fn check_static(path: &Path) -> Result<()> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.with_context(|| format!("reading {}", path.display()))?;
    match loaders(&head) {
        Some(0) => Ok(()),
        Some(_) => {
            bail!("{} is not static: it needs the C library of the machine that it runs on", path.display())
        }
        None => bail!("{} is no program of Linux with 64 bits", path.display()),
    }
}

/// The number of segments that name a loader.
fn loaders(head: &[u8]) -> Option<usize> {
    let is_known = head.starts_with(b"\x7fELF\x02\x01");
    let short = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?) as usize);
    let table = u64::from_le_bytes(head.get(TABLE..TABLE + 8)?.try_into().ok()?);
    let (table, size, count) = (usize::try_from(table).ok()?, short(ENTRY_SIZE)?, short(ENTRY_COUNT)?);
    let kind = |index: usize| {
        let at = table.checked_add(index.checked_mul(size)?)?;
        Some(u32::from_le_bytes(head.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    let kinds: Option<Vec<u32>> = (0..count).map(kind).collect();
    kinds.filter(|_| is_known).map(|kinds| kinds.iter().filter(|kind| **kind == LOADER).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_static_tells_programs_apart() {
        let own = std::env::current_exe().unwrap();
        let error = check_static(&own).unwrap_err().to_string();
        assert!(error.contains("is not static"), "{error}");
        let error =
            check_static(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml").as_path()).unwrap_err();
        assert!(error.to_string().contains("no program of Linux"), "{error}");
        assert_eq!(loaders(b"\x7fELF\x02\x01"), None, "it ends too early");
    }
}
