//! Looks for damage in the write-ahead log of a file before SQLite reads it: what stands behind the damage is
//! lost, and SQLite says nothing about it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The magic numbers of logs whose checksums are read as little and as big endian.
const MAGIC: [u32; 2] = [0x377f_0682, 0x377f_0683];

/// The part of a log that SQLite will not read, although it was written and synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LostCommits {
    /// The number of transactions.
    commits: u64,
    /// The place of the damage in the log, in bytes.
    offset: u64,
}

/// What is lost of the file's log, for people; it is logged, and the log is kept beside.
pub(super) fn find_damage(file: &Path) -> Option<String> {
    let log = path_of(file);
    let lost = match lost_commits(&log) {
        Ok(lost) => lost?,
        Err(error) => {
            tracing::warn!("{} cannot be checked for damage: {error}", log.display());
            return None;
        }
    };
    let mut kept = log.clone().into_os_string();
    kept.push(".damaged");
    let kept = Path::new(&kept);
    let is_kept = std::fs::copy(&log, kept).is_ok();
    let kept = if is_kept { format!("; a copy is {}", kept.display()) } else { String::new() };
    let damage = format!(
        "{} is damaged at byte {}: the {} commits from there on are lost, and acknowledged tasks or ends of tasks with \
         them{kept}.",
        log.display(),
        lost.offset,
        lost.commits,
    );
    tracing::error!("{damage}");
    Some(damage)
}

/// The log beside a queue's file.
fn path_of(queue: &Path) -> PathBuf {
    let mut path = queue.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// The commits behind a damage; `None` when there is none, or no log.
///
/// Commits are synced one after the other, so that a power cut tears the last one alone: whatever follows a
/// frame that does not fit its checksum, beyond the end of that frame's own commit, was lost by something
/// else.
///
/// # Errors
/// The log cannot be read.
fn lost_commits(log: &Path) -> io::Result<Option<LostCommits>> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut log = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER_BYTES];
    if !fill(&mut log, &mut header)? || header == [0; HEADER_BYTES] {
        return Ok(None);
    }
    let sum = Checksum::of(number(&header, 0));
    let sum = sum.map(|sum| sum.with(&header[..24])).filter(|sum| sum.is(&header, 24));
    let page_bytes = number(&header, 8) as usize;
    if !matches!(page_bytes, 512..=65_536) {
        return Ok(Some(LostCommits { commits: 1, offset: 0 }));
    }
    let mut frames =
        Frames { salts: [number(&header, 16), number(&header, 20)], sum, damage: None, behind: 0 };
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    if frames.sum.is_none() {
        frames.damage = Some(0);
    }
    let mut offset = HEADER_BYTES as u64;
    while fill(&mut log, &mut frame)? && frames.add(&frame, offset) {
        offset += frame.len() as u64;
    }
    // With a header that does not fit, nothing of the log is read.
    let torn = u64::from(sum.is_some());
    let commits = frames.behind;
    Ok(frames.damage.filter(|_| commits > torn).map(|offset| LostCommits { commits, offset }))
}

/// The frames of one log that were looked at.
struct Frames {
    salts: [u32; 2],
    /// The checksum up to here; `None` after a damage.
    sum: Option<Checksum>,
    damage: Option<u64>,
    /// The commits behind the damage.
    behind: u64,
}

impl Frames {
    /// Looks at the next frame; `false` for one that an earlier use of the log has left.
    fn add(&mut self, frame: &[u8], offset: u64) -> bool {
        let is_current = self.salts == [number(frame, 8), number(frame, 12)];
        self.sum = self.sum.filter(|_| is_current).map(|sum| sum.with(&frame[..8]).with(&frame[24..]));
        self.sum = self.sum.filter(|sum| sum.is(frame, 16));
        if self.sum.is_some() {
            return true;
        }
        // The salts of one frame may be what is damaged; those of two are an earlier use.
        let is_first = self.damage.is_none();
        self.damage.get_or_insert(offset);
        self.behind += u64::from(is_current && number(frame, 4) != 0);
        is_current || is_first
    }
}

/// The checksum of SQLite's logs over numbers of 4 bytes.
#[derive(Clone, Copy)]
struct Checksum {
    is_big_endian: bool,
    sums: [u32; 2],
}

impl Checksum {
    fn of(magic: u32) -> Option<Self> {
        MAGIC.contains(&magic).then_some(Self { is_big_endian: magic == MAGIC[1], sums: [0; 2] })
    }

    fn with(mut self, bytes: &[u8]) -> Self {
        let read = |word: &[u8]| {
            let word = [word[0], word[1], word[2], word[3]];
            if self.is_big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        let [mut first, mut second] = self.sums;
        for pair in bytes.chunks_exact(8) {
            first = first.wrapping_add(read(&pair[..4])).wrapping_add(second);
            second = second.wrapping_add(read(&pair[4..])).wrapping_add(first);
        }
        self.sums = [first, second];
        self
    }

    fn is(self, bytes: &[u8], at: usize) -> bool {
        self.sums == [number(bytes, at), number(bytes, at + 4)]
    }
}

/// A number of the log's own, always big endian.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Fills the buffer; `false` at the end of the log.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A file whose log has ten commits, with these bytes of the log changed; what is lost of it.
    fn lost(change: impl FnOnce(&mut Vec<u8>)) -> Option<LostCommits> {
        lost_after("", change)
    }

    /// As [`lost`], once more statements have been executed.
    fn lost_after(statements: &str, change: impl FnOnce(&mut Vec<u8>)) -> Option<LostCommits> {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("queue.db");
        let connection = Connection::open(&file).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE a (b)")
            .unwrap();
        for number in 0..9 {
            connection.execute("INSERT INTO a VALUES (?1)", [number]).unwrap();
        }
        connection.execute_batch(statements).unwrap();
        let log = path_of(&file);
        let mut bytes = std::fs::read(&log).unwrap();
        change(&mut bytes);
        let copy = folder.path().join("copy-wal");
        std::fs::write(&copy, bytes).unwrap();
        lost_commits(&copy).unwrap()
    }

    #[test]
    fn log_that_is_whole_or_torn_at_its_end_has_lost_nothing() {
        assert_eq!(lost(|_| ()), None);
        assert_eq!(lost(|log| *log.last_mut().unwrap() ^= 1), None);
        assert_eq!(lost(|log| log.truncate(log.len() - 100)), None);
        assert_eq!(lost(Vec::clear), None);
        assert_eq!(lost_commits(Path::new("/nowhere/queue.db-wal")).unwrap(), None);
    }

    #[test]
    fn log_that_begins_anew_has_lost_nothing_of_what_stands_behind_it() {
        let restart = "PRAGMA wal_checkpoint(RESTART); INSERT INTO a VALUES (9); INSERT INTO a VALUES (10)";
        assert_eq!(lost_after(restart, |_| ()), None);
    }

    #[test]
    fn log_with_a_damage_in_the_middle_has_lost_the_commits_behind_it() {
        let frame = FRAME_HEADER_BYTES + 4096;
        for commits in [2, 4] {
            let damaged = lost(|log| {
                let begin = log.len() - commits * frame;
                log[begin + FRAME_HEADER_BYTES + 10] ^= 1;
            });
            assert_eq!(damaged.map(|lost| lost.commits), Some(commits as u64));
        }
    }

    #[test]
    fn log_with_a_damaged_header_has_lost_everything() {
        assert!(lost(|log| log[25] ^= 1).is_some_and(|lost| lost.commits == 10 && lost.offset == 0));
    }
}
