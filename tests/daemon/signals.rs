//! Signals beside those that stop: what each of them does, and what stays ignored.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::Project;
use crate::harness::daemon::{Daemon, project};
use crate::harness::eventually::wait_until;
use crate::harness::process::Ran;
use crate::harness::server::Server;

/// Sends a signal by its number: some have no name.
#[track_caller]
fn send(pid: u32, signal: i32) {
    Ran::of(Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")])).exits(0);
}

#[test]
fn signals_that_mean_nothing_to_a_server_are_ignored_and_logged() {
    let mut server = Server::start();
    let nameless = [36, 50, 64];
    let named = [Signal::ALARM, Signal::VTALARM, Signal::PROF, Signal::IO, Signal::POWER, Signal::STKFLT]
        .map(Signal::as_raw);
    for signal in named.into_iter().chain([Signal::XCPU.as_raw()]).chain(nameless) {
        send(server.pid(), signal);
        server.line_with("is ignored");
    }
    // These two are not even worth a line.
    send(server.pid(), Signal::PIPE.as_raw());
    send(server.pid(), Signal::XFSZ.as_raw());
    assert_eq!(server.status()["pid"], server.pid());
}

#[test]
fn sigusr2_reloads_as_sigusr1_does() {
    let daemon = Daemon::start(project(), "");
    send(daemon.pid, Signal::USR2.as_raw());
    // The old process may close a connection that has come to it.
    wait_until("another process serves", || {
        let status = daemon.think("task:status --json");
        status.code == Some(0) && status.json()["pid"] != daemon.pid
    });
    daemon.think("task:stop").exits(0);
}

#[test]
fn first_real_time_signal_opens_the_log_file_anew() {
    let daemon = Daemon::start(project(), "");
    let log = daemon.project.path("runtime/server.log");
    fs::rename(&log, daemon.project.path("runtime/moved.log")).unwrap();
    send(daemon.pid, 34);
    wait_until("the log file is there again", || log.exists());
    assert_eq!(daemon.status()["pid"], daemon.pid);
}

/// Starts a server by a shell that ignores these signals, as `nohup` does, or a script its background jobs.
fn ignoring(signals: &str, settings: &str) -> Server {
    let project = Project::with_settings(settings);
    let mut think = project.command();
    think.args(["task:start", "--port", "0"]);
    let mut command = Command::new("sh");
    let words = [think.get_program()].into_iter().chain(think.get_args());
    let line: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    command.args(["-c", &format!("trap '' {signals}; exec {}", line.join(" "))]);
    command.current_dir(think.get_current_dir().unwrap());
    command.envs(think.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Server::of(project, &mut command)
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let mut server = ignoring("HUP INT QUIT", "");
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT] {
        server.signal(signal);
    }
    // It comes after them.
    server.signal(Signal::ALARM);
    server.line_with("is ignored");
    assert_eq!(server.status()["pid"], server.pid());
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn stop_reaches_a_server_that_ignores_sigquit_and_does_not_listen() {
    let mut server = ignoring("QUIT", "pid_file = \"runtime/server.pid\"\n");
    fs::remove_file(server.control_socket()).unwrap();
    let stopped = server.project.think("task:stop").exits(0);
    assert!(stopped.stderr.contains("sending it a signal"), "{stopped:?}");
    assert_eq!(server.exit_code(), Some(0));
}
