//! The log file: appended to, rotated when it is due, reopened on request; or stderr in its place.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::Rotation;
use crate::files;

/// A file of whole lines. Lines that cannot be written are counted, and the number is logged when there is
/// room.
pub(super) struct LogFile {
    path: PathBuf,
    stream: Stream,
    size: u64,
    written: SystemTime,
    /// Whether the file is neither a device nor a pipe, which are never rotated.
    is_regular: bool,
    rotation: Rotation,
    /// The number of rotated files that are kept.
    keep: usize,
    /// Whether the last rotation failed, which is logged once.
    is_stuck: bool,
    /// Whether the process's own stdout and stderr are redirected to the file.
    streams: bool,
    lost: LostLines,
}

enum Stream {
    File(File),
    /// The process's own, wherever that leads.
    Stderr,
}

/// The lines lost since the last successful write.
#[derive(Default)]
struct LostLines {
    lines: u64,
    reason: String,
    /// Whether the file ends with a part of a line.
    is_torn: bool,
}

impl LogFile {
    /// # Errors
    /// When the file cannot be opened, or its directory cannot be made.
    pub(super) fn open(path: &Path, rotation: Rotation, keep: usize) -> Result<Self> {
        let mut file = Self::of(Stream::File(open(path)?), path, rotation, keep);
        file.inspect();
        Ok(file)
    }

    /// Stderr, which is neither rotated nor reopened.
    pub(super) fn stderr() -> Self {
        Self::of(Stream::Stderr, Path::new("/dev/stderr"), Rotation::None, 0)
    }

    fn of(stream: Stream, path: &Path, rotation: Rotation, keep: usize) -> Self {
        Self {
            path: path.to_owned(),
            stream,
            size: 0,
            written: SystemTime::now(),
            is_regular: false,
            rotation,
            keep,
            is_stuck: false,
            streams: false,
            lost: LostLines::default(),
        }
    }

    /// Redirects stdout and stderr to the file, from now on.
    pub(super) fn take_streams(&mut self) -> io::Result<()> {
        self.streams = true;
        self.redirect_streams()
    }

    /// Appends whole lines, or counts them as lost; `dropped` lines were lost before.
    pub(super) fn write(
        &mut self,
        text: &[u8],
        dropped: u64,
        now: SystemTime,
        own_line: impl Fn(&str) -> Vec<u8>,
    ) {
        self.lost.add(dropped, self.stream.slowness());
        if self.is_regular && self.rotation.is_due(self.size, text.len(), self.written, now) {
            let rotated = self.rotate();
            let was_stuck = std::mem::replace(&mut self.is_stuck, rotated.is_err());
            if let (Err(error), false) = (rotated, was_stuck) {
                // Best effort: on a full disk there is no room for it.
                let _ = self.append(&own_line(&format!("the log file cannot be rotated: {error:#}")));
            }
        }
        if self.lost.lines > 0 {
            let mut note = if self.lost.is_torn { b"\n".to_vec() } else { Vec::new() };
            let (lines, reason) = (self.lost.lines, &self.lost.reason);
            note.extend(own_line(&format!("{lines} lines of the log were lost: {reason}")));
            match self.append(&note) {
                Ok(()) => self.lost = LostLines::default(),
                Err((_, error)) => return self.lost.add(count_lines(text), &error.to_string()),
            }
        }
        if let Err((written, error)) = self.append(text) {
            self.lost.add(count_lines(&text[written..]), &error.to_string());
        }
        self.written = now;
    }

    /// Opens the file by its name again, in case another program has moved it.
    ///
    /// # Errors
    /// When it cannot be opened; the open file then stays in use.
    pub(super) fn reopen(&mut self) -> Result<()> {
        if let Stream::Stderr = self.stream {
            return Ok(());
        }
        self.stream = Stream::File(open(&self.path)?);
        self.inspect();
        self.lost.is_torn = false;
        self.redirect_streams().context("redirecting stdout and stderr to the log file")
    }

    /// Reads type, size and age of the open file.
    fn inspect(&mut self) {
        let metadata = self.stream.metadata();
        self.size = metadata.as_ref().map_or(0, Metadata::len);
        self.is_regular = metadata.as_ref().is_some_and(Metadata::is_file);
        let written = metadata.and_then(|metadata| metadata.modified().ok());
        self.written = written.unwrap_or_else(SystemTime::now);
    }

    /// Appends bytes; the error carries the number that was written before it.
    fn append(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(0) => return Err(self.torn(bytes, written, io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    written += count;
                    self.size += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.torn(bytes, written, error)),
            }
        }
        Ok(())
    }

    fn torn(&mut self, bytes: &[u8], written: usize, error: io::Error) -> (usize, io::Error) {
        match bytes[..written].last() {
            Some(b'\n') => self.lost.is_torn = false,
            Some(_) => self.lost.is_torn = true,
            None => {}
        }
        (written, error)
    }

    /// `server.log` becomes `server.log.1`, that becomes `server.log.2`, and so on; the last one goes.
    fn rotate(&mut self) -> Result<()> {
        // Another process that writes to the file may have rotated it already.
        let is_ours = fs::metadata(&self.path).is_ok_and(|there| {
            self.stream.metadata().is_some_and(|ours| (there.dev(), there.ino()) == (ours.dev(), ours.ino()))
        });
        if is_ours {
            for number in (1..self.keep).rev().filter(|number| self.rotated_path(*number).exists()) {
                fs::rename(self.rotated_path(number), self.rotated_path(number + 1))?;
            }
            if self.keep == 0 {
                fs::remove_file(&self.path)?;
            } else {
                fs::rename(&self.path, self.rotated_path(1))?;
            }
        }
        self.reopen()
    }

    fn rotated_path(&self, number: usize) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }

    fn redirect_streams(&self) -> io::Result<()> {
        if let (true, Stream::File(file)) = (self.streams, &self.stream) {
            rustix::stdio::dup2_stdout(file)?;
            rustix::stdio::dup2_stderr(file)?;
        }
        Ok(())
    }
}

impl Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stderr => io::stderr().write(bytes),
        }
    }

    fn metadata(&self) -> Option<Metadata> {
        match self {
            Self::File(file) => file.metadata().ok(),
            Self::Stderr => None,
        }
    }

    /// Why lines are lost that came faster than they were written.
    fn slowness(&self) -> &'static str {
        match self {
            Self::File(_) => "the disk is too slow",
            Self::Stderr => "nobody has read them in time",
        }
    }
}

impl LostLines {
    fn add(&mut self, lines: u64, reason: &str) {
        if lines > 0 {
            self.lines += lines;
            reason.clone_into(&mut self.reason);
        }
    }
}

fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// Opens the file for appending: the system keeps the lines of each write together, even with several
/// writers.
fn open(path: &Path) -> Result<File> {
    if let Some(directory) = path.parent() {
        files::create_folder(directory)
            .with_context(|| format!("creating the directory of the log file {}", path.display()))?;
    }
    let file = files::private().append(true).open(path);
    file.with_context(|| format!("opening the log file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::time::Duration;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("think-log-file-{name}-{}", std::process::id())))
        }

        fn file(&self, rotation: Rotation, keep: usize) -> LogFile {
            LogFile::open(&self.0.join("server.log"), rotation, keep).unwrap()
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap_or_else(|_| "none".to_owned())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn write(file: &mut LogFile, text: &str, now: SystemTime) {
        file.write(text.as_bytes(), 0, now, |text| format!("{text}\n").into_bytes());
    }

    #[test]
    fn rotation_by_size_numbers_files_and_removes_the_oldest() {
        let folder = Folder::new("size");
        let mut file = folder.file(Rotation::Size(8), 2);
        for text in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            write(&mut file, text, SystemTime::now());
        }
        let names = ["server.log", "server.log.1", "server.log.2", "server.log.3"];
        assert_eq!(names.map(|name| folder.read(name)), ["five\n", "four\n", "three\n", "none"]);
    }

    #[test]
    fn rotation_by_day_works_across_a_restart() {
        let folder = Folder::new("day");
        let now = SystemTime::now();
        write(&mut folder.file(Rotation::Daily, 7), "today\n", now);
        write(&mut folder.file(Rotation::Daily, 7), "tomorrow\n", now + DAY);
        assert_eq!(["server.log", "server.log.1"].map(|name| folder.read(name)), ["tomorrow\n", "today\n"]);
    }

    #[test]
    fn rotation_leaves_a_device_alone() {
        let folder = Folder::new("device");
        fs::create_dir_all(&folder.0).unwrap();
        let path = folder.0.join("server.log");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let mut file = folder.file(Rotation::Size(4), 2);
        (0..3).for_each(|_| write(&mut file, "one\n", SystemTime::now()));
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/dev/null"));
    }

    #[test]
    fn rotation_that_fails_is_logged_once() {
        let folder = Folder::new("stuck");
        fs::create_dir_all(folder.0.join("server.log.2/full")).unwrap();
        let mut file = folder.file(Rotation::Size(4), 2);
        for text in ["one\n", "two\n", "three\n", "four\n"] {
            write(&mut file, text, SystemTime::now());
        }
        let text = folder.read("server.log");
        assert!(
            text.starts_with("two\nthe log file cannot be rotated: ") && text.ends_with("\nthree\nfour\n")
        );
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn reopen_reads_the_age_of_the_file() {
        let folder = Folder::new("replaced");
        let mut file = folder.file(Rotation::Daily, 7);
        let now = SystemTime::now();
        write(&mut file, "today\n", now);
        let old = File::create(folder.0.join("old")).unwrap();
        (&old).write_all(b"yesterday\n").unwrap();
        old.set_modified(now - DAY).unwrap();
        fs::rename(folder.0.join("old"), folder.0.join("server.log")).unwrap();
        file.reopen().unwrap();
        write(&mut file, "again\n", now);
        assert_eq!(["server.log", "server.log.1"].map(|name| folder.read(name)), ["again\n", "yesterday\n"]);
    }

    #[test]
    fn rotation_that_keeps_no_file_starts_over() {
        let folder = Folder::new("none");
        let mut file = folder.file(Rotation::Size(4), 0);
        write(&mut file, "one\n", SystemTime::now());
        write(&mut file, "two\n", SystemTime::now());
        assert_eq!(["server.log", "server.log.1"].map(|name| folder.read(name)), ["two\n", "none"]);
    }

    #[test]
    fn reopen_creates_a_file_that_was_moved() {
        let folder = Folder::new("moved");
        let mut file = folder.file(Rotation::None, 7);
        write(&mut file, "before\n", SystemTime::now());
        fs::rename(folder.0.join("server.log"), folder.0.join("old")).unwrap();
        write(&mut file, "between\n", SystemTime::now());
        file.reopen().unwrap();
        write(&mut file, "after\n", SystemTime::now());
        assert_eq!(["old", "server.log"].map(|name| folder.read(name)), ["before\nbetween\n", "after\n"]);
    }

    #[test]
    fn lost_lines_are_counted_and_logged_once_there_is_room() {
        let folder = Folder::new("full");
        let mut file = folder.file(Rotation::None, 7);
        let fine = std::mem::replace(
            &mut file.stream,
            Stream::File(OpenOptions::new().write(true).open("/dev/full").unwrap()),
        );
        write(&mut file, "one\ntwo\n", SystemTime::now());
        write(&mut file, "three\n", SystemTime::now());
        file.stream = fine;
        write(&mut file, "four\n", SystemTime::now());
        write(&mut file, "five\n", SystemTime::now());
        let text = folder.read("server.log");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("3 lines of the log were lost: No space left"), "{text}");
        assert_eq!(lines[1..], ["four", "five"]);
    }

    #[test]
    fn open_names_the_file_that_cannot_be_opened() {
        let error = format!("{:#}", open(Path::new("/dev/null/server.log")).unwrap_err());
        assert!(error.contains("/dev/null/server.log"), "{error}");
        let error = format!("{:#}", open(Path::new("/")).unwrap_err());
        assert!(error.contains("opening the log file /"), "{error}");
    }
}
