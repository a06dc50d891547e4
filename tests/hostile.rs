//! Clients that mean harm, while a good one works.

mod attack;
mod good;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use serde_json::Value;

use self::good::Good;
use crate::harness::Project;
use crate::harness::certificates::Authority;
use crate::harness::server::Server;

/// More than this, in KiB, is no bound any more: far below what the attackers would like to fill.
const MEMORY: u64 = 600 << 10;

fn server() -> Server {
    let project = Project::new();
    Authority::new().issue("localhost").write(&project, "server");
    project.write(
        "config/server.toml",
        "app_log = false\nlog_level = \"off\"\ndurability = \"memory\"\nmemory_max = \"128MB\"\nssl_cert_file = \"server.crt\"\n\
         ssl_key_file = \"server.key\"\nauth_timeout = \"1h\"\n",
    );
    Server::with(project, "")
}

/// A figure of the server's memory, in KiB.
fn memory(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// How many descriptors are open once those of connections that have just ended are closed, too.
fn descriptors_down_to(count: usize, server: &Server) -> usize {
    (0..1_000)
        .map(|_| (server.status(), descriptors(server)).1)
        .find(|open| *open <= count)
        .unwrap_or(usize::MAX)
}

/// Figures are of use where they are seen, also when all is well.
fn say(figures: &str) {
    io::stdout().write_all(format!("{figures}\n").as_bytes()).unwrap();
}

/// The status once only the one who asks and these others are connected.
fn status_of(server: &Server, others: u64) -> Value {
    loop {
        let status = server.status();
        if status["connections"]["current"] == others + 1 {
            return status;
        }
    }
}

/// Runs attacks while a good client works, and looks whether the server is what it was before.
fn under(attack: impl FnOnce(&Server)) {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let server = server();
    let mut good = Good::connect(&server);
    let quiet = good.work(500, || false);
    status_of(&server, 1);
    let before = (descriptors(&server), memory(&server, "VmRSS"));
    let is_over = AtomicBool::new(false);
    let attacked = thread::scope(|scope| {
        let working = scope.spawn(|| good.work(500, || !is_over.load(Ordering::Relaxed)));
        // Also when the attack panics: nobody would end otherwise.
        let attacked = catch_unwind(AssertUnwindSafe(|| attack(&server)));
        is_over.store(true, Ordering::Relaxed);
        let times = working.join().unwrap();
        attacked.unwrap_or_else(|panic| resume_unwind(panic));
        times
    });
    let status = status_of(&server, 1);
    let after = (descriptors_down_to(before.0, &server), memory(&server, "VmRSS"));
    let most = memory(&server, "VmHWM");
    say(&format!("the good client: {quiet} when it is quiet, {attacked} under attack"));
    say(&format!("memory: {} KiB before, {} KiB after, {most} KiB at most", before.1, after.1));
    say(&format!("limits: {}", status["limits"]));
    assert!(after.0 <= before.0, "{} descriptors before, {} after", before.0, after.0);
    assert!(most < MEMORY, "{most} KiB");
    let ledger = &status["ledger"];
    let count = |name: &str| ledger[name].as_u64().unwrap();
    let ended = ["done", "failed", "cancelled", "expired", "waiting", "running"];
    assert_eq!(count("accepted"), ended.into_iter().map(count).sum::<u64>(), "{ledger}");
}

#[test]
fn a_thousand_clients_that_trickle_bytes_harm_nobody() {
    under(|server| {
        let trickling = attack::trickle(server, 250);
        let idle = attack::connect(server, 1000);
        trickling.drip(20);
        drop(idle);
    });
}

#[test]
fn garbage_after_every_first_byte_harms_nobody() {
    under(|server| (0..=255).for_each(|byte| attack::garbage(server, byte)));
}

#[test]
fn a_client_that_never_reads_a_gigabyte_of_results_is_bounded() {
    under(attack::never_read);
}

#[test]
fn twenty_thousand_connects_and_closes_leave_nothing_behind() {
    under(|server| attack::come_and_go(server, 20_000));
}

/// By hand: `cargo test --test main -- --ignored hostile`.
#[test]
#[ignore = "takes a minute; the same with twenty thousand runs always"]
fn a_hundred_thousand_connects_and_closes_leave_nothing_behind() {
    under(|server| attack::come_and_go(server, 100_000));
}
