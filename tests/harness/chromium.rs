//! A real browser without a window.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use super::client::tcp;
use super::lines::Lines;
use super::{Ran, installed};

/// A browser with a profile of its own, ended with its owner.
pub(crate) struct Chromium {
    process: Child,
    /// The address of its remote control.
    address: String,
    /// Read on: a browser that cannot print does not go on.
    _lines: Lines,
    _profile: TempDir,
}

impl Chromium {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let profile = TempDir::new().unwrap();
        let mut command = command(&profile);
        command.args(["--remote-debugging-port=0", "about:blank"]).args(arguments);
        let mut process =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn().unwrap();
        let lines = Lines::of(process.stderr.take().unwrap());
        let line = lines.line_with("DevTools listening on ws://");
        let (_, address) = line.split_once("ws://").unwrap();
        let address = address.split_once('/').unwrap().0.to_owned();
        Self { process, address, _lines: lines, _profile: profile }
    }

    /// The address of its remote control.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Opens a page in a tab of its own.
    pub(crate) fn open(&self, url: &str) {
        let mut stream = tcp(&self.address);
        let url: String = url.bytes().map(|byte| format!("%{byte:02x}")).collect();
        write!(stream, "PUT /json/new?{url} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)
            .unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK", "a tab opens");
    }

    /// The page at the URL that is the last argument, as the browser has it.
    pub(crate) fn dump(arguments: &[&str]) -> String {
        let profile = TempDir::new().unwrap();
        Ran::of(command(&profile).arg("--dump-dom").args(arguments)).exits(0).stdout
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // With all the processes that it has started.
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        self.process.wait().unwrap();
    }
}

fn command(profile: &TempDir) -> Command {
    installed();
    let mut command = Command::new("chromium");
    command
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args(["--disable-background-networking", "--disable-component-update"])
        .arg(format!("--user-data-dir={}", profile.path().display()));
    command
}
