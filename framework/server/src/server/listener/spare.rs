//! A file descriptor that is kept for the control socket, which answers also when all others are in use.

use std::fs::File;
use std::io;
use std::sync::Mutex;

use rustix::io::Errno;

/// The spare descriptor; `None` while it is in use.
#[derive(Default)]
pub(super) struct SpareDescriptor(Mutex<Option<File>>);

/// Whether the process or the system has no descriptor left.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE))
}

impl SpareDescriptor {
    /// Gives the descriptor up for another one; `false` if it is in use.
    pub(super) fn release(&self) -> bool {
        self.0.lock().expect("no panic while the descriptor is locked").take().is_some()
    }

    /// Takes a descriptor again; `false` if there is none.
    pub(super) fn refill(&self) -> bool {
        let mut spare = self.0.lock().expect("no panic while the descriptor is locked");
        if spare.is_none() {
            *spare = File::open("/dev/null").ok();
        }
        spare.is_some()
    }
}
