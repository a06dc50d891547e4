//! Mail servers: a real one that reports what it is sent, and one that never answers.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::client::accept;
use super::lines::Lines;
use super::process::kill;
use super::{Project, installed, project_root};

/// A mail server on a port of its own; see `smtp_server.py` beside this file.
pub(crate) struct MailServer {
    process: Child,
    lines: Lines,
    port: u16,
    certificate: Option<String>,
}

impl MailServer {
    /// Starts with the arguments that `smtp_server.py` explains.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(installed())
            .arg(project_root().join("tests/harness/smtp_server.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Lines::of(process.stdout.take().unwrap());
        let first: Value = serde_json::from_str(&lines.line()).unwrap();
        let port = first["port"].as_u64().unwrap().try_into().unwrap();
        Self { process, lines, port, certificate: first["certificate"].as_str().map(str::to_owned) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The certificate that clients of an encrypting server must trust, as PEM.
    pub(crate) fn certificate(&self) -> &str {
        self.certificate.as_deref().expect("the server encrypts")
    }

    /// Ends the server; everything that it has received.
    pub(crate) fn finish(mut self) -> Vec<Value> {
        drop(self.process.stdin.take());
        self.lines.rest().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        kill(&mut self.process);
    }
}

/// A mail server that accepts connections and never sends a byte: a mail to it stays in flight.
pub(crate) struct SilentMailServer(TcpListener);

impl SilentMailServer {
    pub(crate) fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Has the mails of a project go to this server, which may take its time.
    pub(crate) fn configure(&self, project: &Project) {
        let port = self.0.local_addr().unwrap().port();
        let settings = format!(
            "transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nconnect_timeout = \"1h\"\n"
        );
        project.write("config/mail.toml", &settings);
    }

    /// The next connection of a mail that is being sent; the attempt fails when it is dropped.
    #[track_caller]
    pub(crate) fn accept(&self) -> TcpStream {
        accept(&self.0)
    }
}
