//! SQLite alone through power cuts: the rows that were committed, and those that are left.

use std::collections::BTreeMap;
use std::path::Path;

use fastrand::Rng;
use rusqlite::{Connection, OpenFlags};

use super::disk::Disk;
use super::vfs::{Mounted, VFS};

/// A table of numbers, and the rows that it has to hold.
pub(super) struct Rows {
    directory: tempfile::TempDir,
    synchronous: &'static str,
    random: Rng,
    mounted: Option<Mounted>,
    committed: BTreeMap<i64, i64>,
}

impl Rows {
    pub(super) fn new(seed: u64, synchronous: &'static str) -> Self {
        let directory = tempfile::TempDir::new().unwrap();
        let mounted = Some(Mounted::at(directory.path(), Disk::new(seed)));
        Self { directory, synchronous, random: Rng::with_seed(seed), mounted, committed: BTreeMap::new() }
    }

    /// Writes until the power is cut, starts again, and checks the rows.
    pub(super) fn survive(&mut self) -> Result<(), String> {
        let disk = self.mounted.as_ref().expect("there is a disk").disk.clone();
        disk.cut_after(self.random.u64(..80));
        let under_way = self.write_until_it_fails(&disk);
        // Unmounts first: a directory has only one disk.
        let left = disk.after_power_cut(&mut self.random);
        self.mounted = None;
        self.mounted = Some(Mounted::at(self.directory.path(), left));
        let found = found(self.directory.path(), self.synchronous)?;
        let with = |more: &BTreeMap<i64, i64>| {
            let mut all = self.committed.clone();
            all.extend(more);
            all
        };
        // A commit without a reply may have happened or not.
        if found != self.committed && found != with(&under_way) {
            return Err(format!("{} rows were committed, {} are there", self.committed.len(), found.len()));
        }
        self.committed = found;
        Ok(())
    }

    /// Returns what the transaction that failed was to write.
    fn write_until_it_fails(&mut self, disk: &Disk) -> BTreeMap<i64, i64> {
        let Ok(mut connection) = connect(self.directory.path(), self.synchronous) else {
            return BTreeMap::new();
        };
        loop {
            let rows: BTreeMap<_, _> =
                (0..self.random.u8(1..4)).map(|_| (self.random.i64(..500), self.random.i64(..))).collect();
            let mut write = || {
                let transaction = connection.transaction()?;
                for (key, value) in &rows {
                    let padding = "x".repeat(1_500);
                    transaction.execute("REPLACE INTO numbers VALUES (?, ?, ?)", (key, value, padding))?;
                }
                transaction.commit()
            };
            if write().is_err() {
                assert!(disk.is_off(), "nothing else can fail here");
                return rows;
            }
            self.committed.extend(rows);
        }
    }
}

fn connect(directory: &Path, synchronous: &str) -> rusqlite::Result<Connection> {
    let path = directory.join("numbers.db");
    let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), VFS)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", 20)?;
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS numbers (key INTEGER PRIMARY KEY, value, padding)")?;
    Ok(connection)
}

fn found(directory: &Path, synchronous: &str) -> Result<BTreeMap<i64, i64>, String> {
    let read = || {
        let connection = connect(directory, synchronous)?;
        let damage: String = connection.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
        let mut statement = connection.prepare("SELECT key, value FROM numbers")?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((damage, rows.collect::<rusqlite::Result<_>>()?))
    };
    match read().map_err(|error: rusqlite::Error| error.to_string())? {
        (damage, rows) if damage == "ok" => Ok(rows),
        (damage, _) => Err(damage),
    }
}
