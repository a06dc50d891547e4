//! The disk below `runtime/`: its room, and how long a sync takes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use framework::config::Config;
use rustix::fs::statvfs;

use super::Finding;

/// The room below which a server soon stops accepting tasks, in bytes.
const LEAST_ROOM: u64 = 256 << 20;
/// The number of syncs that are measured, and what each of them writes, in bytes.
const SYNCS: u32 = 10;
const SYNC_SIZE: usize = 4096;
/// A mean time above which a sync is slow.
const SLOW_SYNC: Duration = Duration::from_millis(50);

/// The folder of the files that a server writes, or the one that it would be created in.
fn folder(config: &Config) -> &Path {
    let runtime = config.runtime_dir();
    runtime.ancestors().find(|folder| folder.is_dir()).unwrap_or(runtime)
}

pub(super) fn room(config: &Config) -> Finding {
    let folder = folder(config);
    let stat = match statvfs(folder) {
        Ok(stat) => stat,
        Err(error) => {
            return Finding::warning("disk", format!("{}: {error}", folder.display()), "look at its disk");
        }
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let found = format!("{} MB are free, and {} files", free >> 20, stat.f_favail);
    if free < LEAST_ROOM || stat.f_favail == 0 && stat.f_files > 0 {
        return Finding::error("disk", found, "make room, or put runtime/ on another disk");
    }
    Finding::ok("disk", found)
}

/// Measures how long it takes until what is written is on the disk: no acknowledgement is faster.
pub(super) fn speed(config: &Config) -> Finding {
    match measure(folder(config)) {
        Ok(time) if time > SLOW_SYNC => Finding::warning(
            "sync",
            format!("a sync of the disk takes {time:.1?}"),
            "clients wait that long for an acknowledgement; use a faster disk, or durability = \"async\"",
        ),
        Ok(time) => Finding::ok("sync", format!("a sync of the disk takes {time:.1?}")),
        Err(error) => Finding::error(
            "sync",
            format!("nothing can be written to {}: {error}", folder(config).display()),
            "make it writable for this user",
        ),
    }
}

/// The mean time of a sync.
fn measure(folder: &Path) -> io::Result<Duration> {
    let path = folder.join(format!(".doctor.{}", std::process::id()));
    let mut file = File::create_new(&path)?;
    let begin = Instant::now();
    let written = (0..SYNCS).try_for_each(|_| {
        file.write_all(&[0; SYNC_SIZE])?;
        file.sync_data()
    });
    let took = begin.elapsed();
    let removed = fs::remove_file(&path);
    written.and(removed).map(|()| took / SYNCS)
}
