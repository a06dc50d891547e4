//! Makes errors keep the place where they were made: `-vv`.

use std::fs;

/// The variable that makes errors keep their backtraces.
const VARIABLE: &str = "RUST_LIB_BACKTRACE";

/// Lets errors keep their backtraces from now on, unless the environment says whether they do, or the process
/// has other threads already.
#[expect(
    unsafe_code,
    clippy::disallowed_methods,
    reason = "errors read this variable and nothing else; a process with one thread may set it"
)]
pub(super) fn capture() {
    let threads = fs::read_dir("/proc/self/task").map_or(usize::MAX, Iterator::count);
    if threads == 1 && std::env::var_os(VARIABLE).is_none() {
        // SAFETY: no other thread reads the environment, because there is none.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}
