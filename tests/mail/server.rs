//! A real mail server, which tells what it is handed.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;

use serde_json::Value;

use crate::harness::server::lines_of;
use crate::harness::{house, installed};

/// A mail server on a port of its own; see `smtp_server.py` beside this file.
pub(super) struct MailServer {
    process: Child,
    said: Receiver<String>,
    port: u16,
    certificate: Option<String>,
}

impl MailServer {
    /// What the arguments mean is said in `smtp_server.py`.
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(installed())
            .arg(house().join("tests/mail/smtp_server.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = lines_of(process.stdout.take().unwrap());
        let first = said.recv().expect("the mail server starts");
        let first: Value = serde_json::from_str(&first).unwrap();
        let port = first["port"].as_u64().unwrap().try_into().unwrap();
        Self { process, said, port, certificate: first["certificate"].as_str().map(str::to_owned) }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What a client that trusts an encrypting server must know, as PEM.
    pub(super) fn certificate(&self) -> &str {
        self.certificate.as_deref().expect("the server encrypts")
    }

    /// Ends the server: all that it has seen.
    pub(super) fn finish(mut self) -> Vec<Value> {
        drop(self.process.stdin.take());
        self.said.iter().map(|line| serde_json::from_str(&line).unwrap()).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // Both fail only for one that has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
