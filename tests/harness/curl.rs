//! Requests by curl, and responses over plain sockets.

use std::process::Command;

use serde_json::Value;

use super::client::Client;
use super::server::Server;
use super::{Ran, installed};

/// A response of curl.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// With the names in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends a request by curl; the last argument is a path.
#[track_caller]
pub(crate) fn curl(server: &Server, arguments: &[&str]) -> Response {
    curl_at(&server.address, arguments)
}

/// Sends a request to an address.
#[track_caller]
pub(crate) fn curl_at(address: &str, arguments: &[&str]) -> Response {
    installed();
    let (path, options) = arguments.split_last().unwrap();
    let url = format!("http://{address}{path}");
    let ran =
        Ran::of(Command::new("curl").args(["-sSi", "--max-time", "60"]).args(options).arg(url)).exits(0);
    let mut text = ran.stdout.as_str();
    // The interim response to `Expect: 100-continue` comes first.
    while let Some((_, rest)) = text.strip_prefix("HTTP/1.1 100").and_then(|text| text.split_once("\r\n\r\n"))
    {
        text = rest;
    }
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    Response::new(head, body.to_owned())
}

impl Response {
    fn new(head: &str, body: String) -> Self {
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let name = |line: &str| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}\n", name.to_lowercase()),
            None => format!("{line}\n"),
        };
        Self { status, head: head.lines().map(name).collect(), body }
    }

    /// Reads a response with a Content-Length.
    #[track_caller]
    pub(crate) fn from(client: &mut Client) -> Self {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = client.line();
            assert!(!line.is_empty(), "the server closed after {head:?}");
            head.push_str(&line);
        }
        let mut response = Self::new(head.trim_end(), String::new());
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        response.body = client.exactly(length);
        response
    }

    /// Checks the status, and shows everything when it is another.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
