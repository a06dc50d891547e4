//! Hostile clients, while a well-behaved one works.

mod abuse;
mod attack;
mod well_behaved;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;

use self::well_behaved::WellBehaved;
use super::print;
use crate::harness::Project;
use crate::harness::certificates::Authority;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::metrics::{assert_balanced, descriptors, process_figure};
use crate::harness::server::Server;

/// The most memory of the server in KiB, far below what the attackers could fill.
const MEMORY_MOST: u64 = 600 << 10;

fn server() -> Server {
    let project = Project::new();
    Authority::new().issue("localhost").write(&project, "server");
    project.write(
        "config/server.toml",
        "app_log = false\nlog_level = \"off\"\ndurability = \"memory\"\nmax_memory = \"128MB\"\nssl_cert_file = \"server.crt\"\n\
         ssl_key_file = \"server.key\"\nauth_timeout = \"1h\"\n",
    );
    Server::with(project, "")
}

/// The status once only the command that asks and this many others are connected.
fn status_with(server: &Server, others: u64) -> Value {
    eventually("the other connections are closed", || {
        Some(server.status()).filter(|status| status["connections"]["current"] == others + 1)
    })
}

/// Runs attacks while a well-behaved client works, and checks that the server holds no more than before.
fn under(attack: impl FnOnce(&Server)) {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let server = server();
    let mut client = WellBehaved::connect(&server);
    let quiet = client.work(500, || false);
    status_with(&server, 1);
    let before = (descriptors(server.pid()), process_figure(server.pid(), "VmRSS"));
    let is_over = AtomicBool::new(false);
    let attacked = thread::scope(|scope| {
        let working = scope.spawn(|| client.work(500, || !is_over.load(Ordering::Relaxed)));
        // Also when the attack panics, since the scope waits for the client.
        let attacked = catch_unwind(AssertUnwindSafe(|| attack(&server)));
        is_over.store(true, Ordering::Relaxed);
        let times = working.join().unwrap();
        attacked.unwrap_or_else(|panic| resume_unwind(panic));
        times
    });
    let status = status_with(&server, 1);
    // The descriptors of connections that have just ended are closed a little later.
    wait_until("the descriptors are closed", || descriptors(server.pid()) <= before.0);
    let (after, most) = (process_figure(server.pid(), "VmRSS"), process_figure(server.pid(), "VmHWM"));
    print(&format!("the well-behaved client: {quiet} when it is quiet, {attacked} under attack"));
    print(&format!("memory: {} KiB before, {after} KiB after, {most} KiB at most", before.1));
    print(&format!("limits: {}", status["limits"]));
    assert!(most < MEMORY_MOST, "{most} KiB");
    assert_balanced(&status["ledger"]);
}

#[test]
fn server_survives_a_thousand_slow_clients() {
    under(|server| {
        let trickling = attack::trickle(server, 250);
        let idle = attack::connect(server, 1000);
        trickling.drip(20);
        drop(idle);
    });
}

#[test]
fn server_survives_garbage_after_every_first_byte() {
    under(|server| (0..=255).for_each(|byte| attack::garbage(server, byte)));
}

#[test]
fn server_bounds_memory_for_a_client_that_never_reads() {
    under(attack::never_read);
}

/// Everything at once that a client can do to make a server hold much or answer much.
#[test]
fn server_bounds_memory_for_many_abuses_at_once() {
    under(|server| {
        let address = &*server.address;
        let show = abuse::large_task(address);
        thread::scope(|scope| {
            scope.spawn(|| abuse::ping_without_reading(address));
            scope.spawn(|| abuse::send_without_reading(address, &show.repeat(1_000)));
            scope
                .spawn(|| abuse::send_without_reading(address, &show.replace("show", "watch").repeat(1_000)));
            scope.spawn(|| abuse::send_without_reading(address, &"?\n".repeat(100_000)));
            scope.spawn(|| abuse::misspell_huge_names(address, 50));
            scope.spawn(|| abuse::delay_in_huge_messages(address, 100));
            scope.spawn(|| abuse::wait_and_hang_up(address, 50));
        });
    });
}

#[test]
fn server_releases_twenty_thousand_short_connections() {
    under(|server| attack::reconnect(server, 20_000));
}

/// By hand: `cargo test --test main -- --ignored load::hostile`.
#[test]
#[ignore = "takes a minute; the same with twenty thousand runs always"]
fn server_releases_a_hundred_thousand_short_connections() {
    under(|server| attack::reconnect(server, 100_000));
}
