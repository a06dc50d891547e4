//! Restores the terminal when the program is ended by a signal while it asks.
#![expect(unsafe_code, reason = "a signal handler, which makes only calls that are allowed in one")]

use std::io::{self, IsTerminal};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The signals that end a program; the keyboard sends none while a prompt reads its keys.
const SIGNALS: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT];
/// Shows the cursor, and ends the line of the prompt.
const CLEAN_UP: &[u8] = b"\x1b[?25h\r\n";

/// What the handler needs; null while nothing is asked.
static GUARDED: AtomicPtr<Guarded> = AtomicPtr::new(null_mut());

struct Guarded {
    /// The terminal as it was before.
    modes: libc::termios,
    /// What was to happen at each signal before.
    actions: [libc::sigaction; SIGNALS.len()],
}

/// Keeps the modes of the terminal of standard input for the case that a signal ends the program, until it is
/// dropped. What a signal does otherwise stays the same.
pub(super) struct TerminalGuard;

impl TerminalGuard {
    /// `None` without a terminal, or while there is a guard already.
    pub(super) fn begin() -> Option<Self> {
        if !io::stdin().is_terminal() || !GUARDED.load(Ordering::SeqCst).is_null() {
            return None;
        }
        let mut modes = MaybeUninit::uninit();
        // SAFETY: the call fills it, or fails.
        let modes = unsafe {
            if libc::tcgetattr(libc::STDIN_FILENO, modes.as_mut_ptr()) != 0 {
                return None;
            }
            modes.assume_init()
        };
        // SAFETY: zeros are a valid action, that of the system.
        let actions = unsafe { MaybeUninit::zeroed().assume_init() };
        let guarded = Box::into_raw(Box::new(Guarded { modes, actions }));
        GUARDED.store(guarded, Ordering::SeqCst);
        for (index, signal) in SIGNALS.into_iter().enumerate() {
            // SAFETY: the handler is a function for signals, and the box is never freed.
            unsafe {
                let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
                action.sa_sigaction = restore as extern "C" fn(libc::c_int) as libc::sighandler_t;
                libc::sigaction(signal, &action, &mut (*guarded).actions[index]);
            }
        }
        Some(Self)
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        let guarded = GUARDED.load(Ordering::SeqCst);
        for (index, signal) in SIGNALS.into_iter().enumerate() {
            // SAFETY: the actions are those from before.
            unsafe { libc::sigaction(signal, &(*guarded).actions[index], null_mut()) };
        }
        // What it points at is not freed: a handler that has just begun on another thread may still read it.
        GUARDED.store(null_mut(), Ordering::SeqCst);
    }
}

/// Restores the terminal, and lets the signal do what it would have done.
extern "C" fn restore(signal: libc::c_int) {
    let guarded = GUARDED.load(Ordering::SeqCst);
    if guarded.is_null() {
        return;
    }
    // SAFETY: all of these calls are allowed in a handler, and the box is never freed.
    unsafe {
        libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &(*guarded).modes);
        libc::write(libc::STDERR_FILENO, CLEAN_UP.as_ptr().cast(), CLEAN_UP.len());
        if let Some(index) = SIGNALS.iter().position(|known| *known == signal) {
            libc::sigaction(signal, &(*guarded).actions[index], null_mut());
        }
        libc::raise(signal);
    }
}
