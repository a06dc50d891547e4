//! Pseudo-terminals, and programs on them.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::eventually::bounded;
use super::lines::Lines;
use super::process::{kill, wait};

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
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
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

    /// Presses Ctrl-C on the keyboard.
    pub(crate) fn interrupt(&mut self) {
        self.keys.write_all(b"\x03").unwrap();
    }

    /// The next line with this in it; those before it are skipped.
    #[track_caller]
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        self.lines.line_with(text)
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
