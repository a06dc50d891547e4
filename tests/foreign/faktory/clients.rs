//! Client and worker libraries of Faktory, unmodified.

use std::process::Command;

use super::{address, server};
use crate::harness::{Ran, foreign, installed};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/faktory/clients");

/// Runs a script against a server of its own, which is to end so many jobs as done.
fn run(program: &str, script: &str, done: u64) {
    foreign();
    let server = server();
    let notes = server.project.path("notes");
    std::fs::create_dir(&notes).unwrap();
    let address = address(&server, "faktory");
    let port = address.rsplit_once(':').unwrap().1;
    let mut command = Command::new(program);
    command.args([format!("{FOLDER}/{script}"), port.to_owned()]).arg(&notes).arg(foreign());
    let ran = Ran::of(&mut command).exits(0);
    assert!(ran.stdout.ends_with("done\n"), "{} {}", ran.stdout, ran.stderr);
    let ledger = server.ledger();
    assert_eq!((&ledger["done"], &ledger["running"]), (&done.into(), &0.into()), "{ledger}");
}

#[test]
fn faktory_of_python_pushes_and_works_jobs() {
    run(installed(), "faktory_client.py", 5);
}

#[test]
fn pyfaktory_of_python_pushes_and_works_jobs() {
    run(installed(), "pyfaktory_client.py", 7);
}

#[test]
fn faktory_worker_of_node_pushes_and_works_jobs() {
    run("node", "faktory_worker.mjs", 7);
}
