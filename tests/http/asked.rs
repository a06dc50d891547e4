//! What curl asks a server, and what it is answered.

use std::process::Command;

use serde_json::Value;

use crate::harness::Ran;
use crate::harness::server::Server;

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    /// As they came, the names in lower case.
    pub(super) head: String,
    pub(super) body: String,
}

/// Asks with curl; the last argument is a path.
#[track_caller]
pub(super) fn curl(server: &Server, arguments: &[&str]) -> Response {
    let (path, options) = arguments.split_last().unwrap();
    let url = format!("http://{}{path}", server.address);
    let ran =
        Ran::of(Command::new("curl").args(["-sSi", "--max-time", "60"]).args(options).arg(url)).exits(0);
    Response::read(&ran.stdout)
}

pub(super) fn status_of(server: &Server, arguments: &[&str]) -> u16 {
    curl(server, arguments).status
}

impl Response {
    /// The last response of a text: those before it told the client to go on.
    pub(super) fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        match status {
            100 => Self::read(body),
            _ => Self { status, head: head.to_lowercase(), body: body.to_owned() },
        }
    }

    /// Checks the status, and shows everything when it is another.
    #[track_caller]
    pub(super) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
