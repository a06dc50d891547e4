//! The tubes that clients use or watch, and the numbers of commands, since the process has started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Instant;

/// The tube that a client uses and watches at first.
pub(super) const DEFAULT: &str = "default";

/// What all connections share.
pub(super) struct Shared {
    /// In the order in which they were named first. Those that have had jobs stay, so that the number of
    /// queues has a bound.
    tubes: Mutex<Vec<Arc<Tube>>>,
    pub(super) counts: Counts,
    pub(super) started: Instant,
}

/// A tube that was named.
#[derive(Debug)]
pub(super) struct Tube {
    /// The name of its queue.
    pub(super) name: Arc<str>,
    /// The clients that use it, that watch it, and that wait for a job of it.
    pub(super) using: AtomicU64,
    pub(super) watching: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) total_jobs: AtomicU64,
    pub(super) deletes: AtomicU64,
    pub(super) pauses: AtomicU64,
    /// The length of the pause in seconds, and its end.
    pub(super) pause: Mutex<Option<(u32, Instant)>>,
}

/// The numbers of all tubes together.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Of each command, in the order of [`COMMANDS`].
    commands: [AtomicU64; COMMANDS.len()],
    pub(super) jobs: AtomicU64,
    /// The connections at the moment that have put a job, that have asked for one, and that wait for one.
    pub(super) producers: AtomicU64,
    pub(super) workers: AtomicU64,
    pub(super) waiting: AtomicU64,
}

/// The commands that are counted, in the order of the statistics.
pub(super) const COMMANDS: [&str; 22] = [
    "put",
    "peek",
    "peek-ready",
    "peek-delayed",
    "peek-buried",
    "reserve",
    "reserve-with-timeout",
    "delete",
    "release",
    "use",
    "watch",
    "ignore",
    "bury",
    "kick",
    "touch",
    "stats",
    "stats-job",
    "stats-tube",
    "list-tubes",
    "list-tube-used",
    "list-tubes-watched",
    "pause-tube",
];

impl Shared {
    /// That of the process.
    pub(super) fn get() -> &'static Self {
        static SHARED: LazyLock<Shared> = LazyLock::new(|| Shared {
            tubes: Mutex::default(),
            counts: Counts::default(),
            started: Instant::now(),
        });
        &SHARED
    }

    fn tubes(&self) -> MutexGuard<'_, Vec<Arc<Tube>>> {
        self.tubes.lock().expect("no panic while the tubes are locked")
    }

    /// The tubes that were named since the start, in that order.
    pub(super) fn all(&self) -> Vec<Arc<Tube>> {
        self.tubes().clone()
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Tube>> {
        self.tubes().iter().find(|tube| *tube.name == *name).cloned()
    }

    /// The tube of this name, which is new if it was not named before; `None` if there are `most` already
    /// that have had jobs, or that a client refers to.
    pub(super) fn tube(&self, name: &str, most: usize) -> Option<Arc<Tube>> {
        let mut tubes = self.tubes();
        if let Some(tube) = tubes.iter().find(|tube| *tube.name == *name) {
            return Some(tube.clone());
        }
        if tubes.len() >= most {
            tubes.retain(Tube::is_kept);
        }
        // The first one has to be there, whatever else is.
        if tubes.len() >= most && name != DEFAULT {
            return None;
        }
        let tube = Arc::new(Tube::new(name));
        tubes.push(tube.clone());
        Some(tube)
    }
}

impl Tube {
    fn new(name: &str) -> Self {
        let count = AtomicU64::default;
        Self {
            name: name.into(),
            using: count(),
            watching: count(),
            waiting: count(),
            total_jobs: count(),
            deletes: count(),
            pauses: count(),
            pause: Mutex::new(None),
        }
    }

    /// Whether it is more than a name that clients once had: one of them has it still, or it had jobs.
    fn is_kept(self: &Arc<Self>) -> bool {
        let is_paused = self.pause(Instant::now()).0 > 0;
        Arc::strong_count(self) > 1 || get(&self.total_jobs) > 0 || is_paused || *self.name == *DEFAULT
    }

    /// Whether a client uses or watches it.
    pub(super) fn is_referred_to(&self) -> bool {
        get(&self.using) + get(&self.watching) > 0
    }

    /// The length of its pause and what is left of it, in seconds; zeros without one.
    pub(super) fn pause(&self, now: Instant) -> (u32, u64) {
        let pause = *self.pause.lock().expect("no panic while the pause is locked");
        let pause = pause.filter(|(_, until)| *until > now);
        pause.map_or((0, 0), |(length, until)| (length, until.duration_since(now).as_secs()))
    }
}

impl Counts {
    /// Counts a command; one that is not in the statistics is none.
    pub(super) fn command(&self, name: &str, count: u64) {
        if let Some(index) = COMMANDS.iter().position(|known| *known == name) {
            self.commands[index].fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn of(&self, index: usize) -> u64 {
        get(&self.commands[index])
    }
}

pub(super) fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

pub(super) fn take(count: &AtomicU64) {
    count.fetch_sub(1, Ordering::Relaxed);
}
