//! Client libraries and workers of beanstalkd, unmodified.

use std::process::Command;

use super::{address, server};
use crate::harness::{Ran, foreign, installed};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/beanstalkd/clients");

/// Runs a script against a server of its own, and checks the ledger afterwards.
fn run(program: &str, script: &str, arguments: &[&str]) {
    foreign();
    let server = server();
    let address = address(&server);
    let port = address.rsplit_once(':').unwrap().1;
    let mut command = Command::new(program);
    command.arg(format!("{FOLDER}/{script}")).arg(port).args(arguments);
    let ran = Ran::of(&mut command).exits(0);
    assert_eq!(ran.stdout, "done\n", "{}", ran.stderr);
    let ledger = server.ledger();
    assert_eq!((&ledger["running"], ledger["done"].as_u64() > Some(0)), (&0.into(), true), "{ledger}");
}

#[test]
fn greenstalk_of_python_puts_and_works_jobs() {
    run(installed(), "greenstalk_client.py", &[]);
}

#[test]
fn pystalk_of_python_puts_and_works_jobs() {
    run(installed(), "pystalk_client.py", &[]);
}

#[test]
fn pheanstalk_of_php_puts_and_works_jobs() {
    run("php", "pheanstalk.php", &[]);
}

#[test]
fn laravel_retries_releases_and_fails_jobs_by_its_own_worker() {
    run("php", "laravel.php", &[]);
}

#[test]
fn node_beanstalk_puts_and_works_jobs() {
    run("node", "node_beanstalk.mjs", &[foreign()]);
}
