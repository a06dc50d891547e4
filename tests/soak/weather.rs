//! What happens to the server: it is stopped and started again, killed, replaced, and told to open its log anew.

use std::fmt;

use rustix::process::Signal;

use super::tally::Tally;
use crate::daemon::guard::Daemon;

pub(super) struct Weather<'a> {
    /// `None` only while one takes the place of another.
    daemon: Option<Daemon>,
    tally: &'a Tally,
    reloads_are_known: bool,
    restarts: u64,
    kills: u64,
    reloads: u64,
    hangups: u64,
}

impl<'a> Weather<'a> {
    pub(super) fn new(daemon: Daemon, tally: &'a Tally) -> Self {
        let reloads_are_known = daemon.think("list").exits(0).stdout.contains("task:reload");
        Self { daemon: Some(daemon), tally, reloads_are_known, restarts: 0, kills: 0, reloads: 0, hangups: 0 }
    }

    pub(super) fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("there is a server between two strikes")
    }

    pub(super) fn into_daemon(mut self) -> Daemon {
        self.daemon.take().expect("there is a server between two strikes")
    }

    fn replace(&mut self, by: impl FnOnce(Daemon) -> Daemon) {
        self.daemon = self.daemon.take().map(by);
    }

    pub(super) fn hang_up(&mut self) {
        self.daemon().signal(Signal::HUP);
        self.hangups += 1;
    }

    /// Any of them.
    pub(super) fn strike(&mut self) {
        match fastrand::u8(..7) {
            0..=1 => self.restart(),
            2..=3 => self.kill(),
            4..=5 if self.reloads_are_known => self.reload(),
            _ => self.hang_up(),
        }
    }

    fn restart(&mut self) {
        self.tally.ends.begin();
        self.replace(|daemon| daemon.restarted("task:restart"));
        self.over();
        self.restarts += 1;
    }

    fn kill(&mut self) {
        self.tally.ends.begin();
        self.replace(|daemon| {
            daemon.signal(Signal::KILL);
            daemon.wait();
            Daemon::start(daemon.into_project(), "")
        });
        self.over();
        self.kills += 1;
    }

    fn over(&self) {
        self.tally.look_at_recent();
        self.tally.ends.end();
    }

    fn reload(&mut self) {
        self.tally.handovers.begin();
        let daemon = self.daemon.as_mut().expect("there is a server between two strikes");
        daemon.think("task:reload").exits(0);
        daemon.replaced();
        self.tally.look_at_recent();
        self.tally.handovers.end();
        self.reloads += 1;
    }
}

impl fmt::Display for Weather<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { restarts, kills, reloads, hangups, .. } = self;
        write!(formatter, "{restarts} restarts, {kills} kills, {reloads} reloads, {hangups} hangups")
    }
}
