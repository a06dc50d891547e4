//! Pseudo-terminals, and programs on them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::eventually::{PATIENCE, bounded};
use super::lines::Lines;
use super::process::{kill, wait};

/// The rows of a terminal of a given width.
const ROWS: u16 = 12;

/// A pseudo-terminal: the end of the test, and the end of a program.
fn open() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(name).unwrap();
    (File::from(ours), theirs)
}

/// Runs a program whose standard output alone is a terminal; what it shows there.
#[track_caller]
pub(crate) fn stdout_on_terminal(mut command: Command) -> String {
    let (ours, theirs) = open();
    let child = command.stdout(theirs).spawn().unwrap();
    // Holds the other end of the terminal, which would keep it open.
    drop(command);
    screen(ours, child)
}

/// The same on a terminal with so many columns.
#[track_caller]
pub(crate) fn stdout_on_terminal_of(columns: u16, mut command: Command) -> String {
    let (ours, theirs) = open();
    resize(&ours, columns);
    let child = command.stdout(theirs).spawn().unwrap();
    drop(command);
    screen(ours, child)
}

fn resize(terminal: &File, columns: u16) {
    let size = Winsize { ws_col: columns, ws_row: ROWS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}

/// Runs a program in a session of its own on a terminal, which is closed then; what it shows there.
///
/// A session whose controlling terminal closes is sent SIGHUP.
#[track_caller]
pub(crate) fn session_on_terminal(like: &Command, arguments: &str) -> String {
    let (ours, mut command) = session(like, &["--ctty", "--wait"], arguments.split_whitespace());
    let child = command.spawn().unwrap();
    drop(command);
    screen(ours, child)
}

/// Everything that is shown until no process holds the other end any more.
#[track_caller]
fn screen(mut ours: File, mut child: Child) -> String {
    let shown = bounded("a program closes its terminal", move || {
        let mut shown = Vec::new();
        // Ends with an error once no process holds the other end.
        let _ = ours.read_to_end(&mut shown);
        shown
    });
    assert!(wait(&mut child).success());
    String::from_utf8(shown).unwrap()
}

/// A command in the place and with the variables of `like`, in a session of its own on a terminal.
fn session<'a>(
    like: &Command,
    options: &[&str],
    arguments: impl IntoIterator<Item = &'a str>,
) -> (File, Command) {
    let (ours, theirs) = open();
    let mut command = Command::new("setsid");
    command.args(options).arg(like.get_program()).args(arguments);
    command.current_dir(like.get_current_dir().unwrap());
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
    (ours, command)
}

/// A terminal and the program on it, which ends with it.
pub(crate) struct Terminal {
    keys: File,
    lines: Lines,
    child: Child,
}

impl Terminal {
    /// Runs a program with these arguments, in the place and with the variables of `like`.
    pub(crate) fn run(like: &Command, arguments: &[&str]) -> Self {
        let (keys, mut command) = session(like, &["--ctty"], arguments.iter().copied());
        let child = command.spawn().unwrap();
        Self { lines: Lines::of(keys.try_clone().unwrap()), keys, child }
    }

    /// The same on a terminal with so many columns.
    pub(crate) fn run_on(columns: u16, like: &Command, arguments: &[&str]) -> Self {
        let (keys, mut command) = session(like, &["--ctty"], arguments.iter().copied());
        resize(&keys, columns);
        let child = command.spawn().unwrap();
        Self { lines: Lines::of(keys.try_clone().unwrap()), keys, child }
    }

    /// Presses Ctrl-C on the keyboard.
    pub(crate) fn interrupt(&mut self) {
        self.keys.write_all(b"\x03").unwrap();
    }

    /// The next line with this in it; those before it are skipped.
    #[track_caller]
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        self.lines.line_with(text)
    }

    /// All further lines until the end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.lines.rest()
    }

    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A terminal on which a test answers what a program asks.
pub(crate) struct Dialogue {
    keys: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// The end of what the test has waited for.
    read: usize,
    child: Child,
}

impl Dialogue {
    /// Runs a program in the place and with the variables of `like`.
    pub(crate) fn run_on(columns: u16, like: &Command, arguments: &[&str]) -> Self {
        let (keys, mut command) = session(like, &["--ctty"], arguments.iter().copied());
        resize(&keys, columns);
        let child = command.spawn().unwrap();
        drop(command);
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let (mut stream, copy) = (keys.try_clone().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with an error once no process holds the other end.
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                copy.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { keys, shown, read: 0, child }
    }

    /// Everything that was shown so far.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until the program shows this, behind what was waited for before, and types the answer.
    #[track_caller]
    pub(crate) fn answer(&mut self, question: &str, keys: &str) {
        let read = self.read;
        let shown = self.shown.clone();
        let find = || {
            let shown = shown.lock().unwrap();
            let at = shown[read..].windows(question.len()).position(|part| part == question.as_bytes());
            at.map(|at| read + at + question.len())
        };
        let deadline = Instant::now() + PATIENCE;
        self.read = loop {
            if let Some(end) = find() {
                break end;
            }
            assert!(Instant::now() < deadline, "no {question:?} in {:?}", self.shown());
            std::thread::sleep(Duration::from_millis(2));
        };
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether the terminal shows what is typed, ends lines at enter, and shows its cursor.
    pub(crate) fn is_clean(&self) -> bool {
        let modes = tcgetattr(&self.keys).unwrap().local_modes;
        let shown = self.shown();
        let hidden = shown.rfind("\x1b[?25l");
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
            && hidden.is_none_or(|hidden| shown.rfind("\x1b[?25h") > Some(hidden))
    }

    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }

    /// Sends a signal to the program.
    pub(crate) fn kill(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The signal that has ended the program.
    #[track_caller]
    pub(crate) fn signal(&mut self) -> Option<i32> {
        wait(&mut self.child).signal()
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}
