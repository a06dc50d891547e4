//! The faults of the server: it is restarted, killed, reloaded, and has its log reopened.

use std::fmt;

use rustix::process::Signal;

use super::recorder::Recorder;
use crate::harness::daemon::Daemon;

pub(super) struct Faults<'a> {
    /// `None` only while one replaces another.
    daemon: Option<Daemon>,
    recorder: &'a Recorder,
    reloads_are_known: bool,
    restarts: u64,
    kills: u64,
    reloads: u64,
    hangups: u64,
}

impl<'a> Faults<'a> {
    pub(super) fn new(daemon: Daemon, recorder: &'a Recorder) -> Self {
        let reloads_are_known = daemon.think("list").exits(0).stdout.contains("task:reload");
        Self {
            daemon: Some(daemon),
            recorder,
            reloads_are_known,
            restarts: 0,
            kills: 0,
            reloads: 0,
            hangups: 0,
        }
    }

    pub(super) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("there is a server between two faults")
    }

    pub(super) fn into_daemon(mut self) -> Daemon {
        self.daemon.take().expect("there is a server between two faults")
    }

    fn replace(&mut self, by: impl FnOnce(Daemon) -> Daemon) {
        self.daemon = self.daemon.take().map(by);
    }

    pub(super) fn hang_up(&mut self) {
        self.daemon().signal(Signal::HUP);
        self.hangups += 1;
    }

    /// Any of the faults.
    pub(super) fn any(&mut self) {
        match fastrand::u8(..7) {
            0..=1 => self.restart(),
            2..=3 => self.kill(),
            4..=5 if self.reloads_are_known => self.reload(),
            _ => self.hang_up(),
        }
    }

    fn restart(&mut self) {
        self.recorder.ends.begin();
        self.replace(|daemon| daemon.restart_by("task:restart"));
        self.over();
        self.restarts += 1;
    }

    pub(super) fn kill(&mut self) {
        self.recorder.ends.begin();
        self.replace(|daemon| {
            daemon.signal(Signal::KILL);
            daemon.wait();
            Daemon::start(daemon.into_project(), "")
        });
        self.over();
        self.kills += 1;
    }

    fn over(&self) {
        self.recorder.recheck_recent();
        self.recorder.ends.end();
    }

    fn reload(&mut self) {
        self.recorder.reloads.begin();
        let daemon = self.daemon.as_mut().expect("there is a server between two faults");
        daemon.think("task:reload").exits(0);
        daemon.follow_reload();
        self.recorder.recheck_recent();
        self.recorder.reloads.end();
        self.reloads += 1;
    }
}

impl fmt::Display for Faults<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { restarts, kills, reloads, hangups, .. } = self;
        write!(formatter, "{restarts} restarts, {kills} kills, {reloads} reloads, {hangups} hangups")
    }
}
