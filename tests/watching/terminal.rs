//! A program on a terminal of its own, at which somebody presses keys.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A terminal and the program on it, which ends with it.
pub(crate) struct Terminal {
    keys: File,
    shown: BufReader<File>,
    child: Child,
}

impl Terminal {
    /// Runs a program with these arguments, in the place and with the variables of `like`.
    pub(crate) fn run(like: &Command, arguments: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = File::options().read(true).write(true).open(name).unwrap();
        // A session of its own, whose controlling terminal it is: what Ctrl-C goes by.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(like.get_program()).args(arguments);
        command.current_dir(like.get_current_dir().unwrap());
        command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(theirs);
        let child = command.spawn().unwrap();
        let keys = File::from(ours);
        Self { shown: BufReader::new(keys.try_clone().unwrap()), keys, child }
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&mut self) {
        self.keys.write_all(b"\x03").unwrap();
    }

    /// The next line with this in it; those before it are skipped.
    #[track_caller]
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let mut shown = String::new();
        loop {
            let start = shown.len();
            // Ends with an error once nobody holds the other end any more.
            let read = self.shown.read_line(&mut shown).unwrap_or_default();
            assert!(read > 0, "no line with {text:?} among\n{shown}");
            if shown[start..].contains(text) {
                return shown[start..].to_owned();
            }
        }
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Already over is as good.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}
