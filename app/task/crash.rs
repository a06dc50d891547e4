//! Ends its process in the ways that isolation is for, or never ends.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use framework::prelude::*;
use framework::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Larger than a memory limit that is worth a try, in bytes.
const MUCH_MEMORY: usize = 64 << 30;

/// Crash the process that runs it, or never end
///
/// To see what becomes of it. It does so only in a process of its own: with `isolated = ["crash"]` in
/// config/server.toml.
#[derive(Debug, Serialize, Deserialize, Task)]
#[serde(deny_unknown_fields)]
#[task(name = "crash", blocking)]
struct Crash {
    /// What happens
    how: CrashMode,
}

/// A way in which a handler can go wrong.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "framework::schemars")]
#[serde(rename_all = "snake_case")]
enum CrashMode {
    /// It writes to memory that is not there
    SegmentationFault,
    Abort,
    /// It calls itself without end
    StackOverflow,
    /// It allocates more than there is
    Memory,
    /// It ends the whole process, with code 3
    Exit,
    Panic,
    /// It never ends, whatever it is asked
    Hang,
    /// All is well
    None,
}

impl HandleBlocking for Crash {
    type Output = u32;

    fn handle(self, attempt: &Attempt) -> Result<u32> {
        ensure!(
            std::env::args().any(|argument| argument == "--isolated"),
            "this would end the server: write isolated = [\"crash\"] in config/server.toml"
        );
        attempt.progress(50.0, format!("next: {:?}", self.how));
        match self.how {
            CrashMode::SegmentationFault => segmentation_fault(),
            CrashMode::Abort => std::process::abort(),
            CrashMode::StackOverflow => _ = overflow(1),
            CrashMode::Memory => drop(black_box(vec![0_u8; MUCH_MEMORY])),
            CrashMode::Exit => std::process::exit(3),
            CrashMode::Panic => panic!("as it was told"),
            CrashMode::Hang => loop {
                thread::sleep(Duration::from_secs(1));
            },
            CrashMode::None => {}
        }
        Ok(std::process::id())
    }
}

#[expect(unsafe_code, reason = "there is no other way to do what must never happen")]
fn segmentation_fault() {
    let nowhere = std::ptr::without_provenance_mut::<u8>(16);
    // SAFETY: it is not, and the system ends the process for it.
    unsafe { nowhere.write_volatile(1) };
}

#[expect(unconditional_recursion, reason = "that is the fault")]
fn overflow(depth: u64) -> u64 {
    let much = black_box([depth; 1024]);
    overflow(depth + 1) + much[0]
}
