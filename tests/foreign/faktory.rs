//! The protocol of Faktory.

mod clients;
mod jobs;
mod lives;

use serde_json::Value;

use crate::harness::Project;
use crate::harness::client::Client;
use crate::harness::server::Server;

/// The settings of a server that speaks it, and that of beanstalkd.
const SETTINGS: &str = "[[listeners]]\nport = 0\nprotocols = [\"faktory\"]\n[[listeners]]\nport = 0\nprotocols = [\"beanstalkd\"]\n";

fn server() -> Server {
    server_with("")
}

/// A server that speaks it, with these settings beside.
fn server_with(settings: &str) -> Server {
    Server::with(Project::with_settings(&format!("{settings}\n{SETTINGS}")), "")
}

/// The address of the listener that speaks a protocol.
fn address(server: &Server, protocol: &str) -> String {
    let status = server.status();
    let addresses = status["addresses"].as_array().unwrap();
    let is_it = |address: &&Value| address["protocols"][0] == protocol;
    addresses.iter().find(is_it).unwrap()["address"].as_str().unwrap().to_owned()
}

/// A client of Faktory.
struct Faktory(Client);

impl Faktory {
    /// Connects as a worker of this name, or without a name.
    fn connect(server: &Server, wid: &str) -> Self {
        let mut client = Self(Client::connect(&address(server, "faktory")));
        assert_eq!(client.line(), "+HI {\"v\":2}");
        let wid = if wid.is_empty() { String::new() } else { format!(",\"wid\":\"{wid}\"") };
        assert_eq!(client.ask(&format!("HELLO {{\"v\":2{wid}}}")), "+OK");
        client
    }

    #[track_caller]
    fn line(&mut self) -> String {
        self.0.line().trim_end_matches("\r\n").to_owned()
    }

    /// Sends a command, and returns the first line of the answer.
    #[track_caller]
    fn ask(&mut self, command: &str) -> String {
        self.0.send(format!("{command}\r\n"));
        self.line()
    }

    /// Sends a command that is answered by JSON; `null` when there is nothing.
    #[track_caller]
    fn json(&mut self, command: &str) -> Value {
        let line = self.ask(command);
        let length = line.strip_prefix('$').unwrap_or_else(|| panic!("{line}")).parse::<i64>().unwrap();
        let Ok(length) = usize::try_from(length) else { return Value::Null };
        let text = self.0.exactly(length + 2);
        serde_json::from_str(&text).unwrap()
    }

    /// Pushes a job with this id and these fields.
    #[track_caller]
    fn push(&mut self, jid: &str, fields: &str) {
        let job = format!("{{\"jid\":\"{jid}\",\"jobtype\":\"mail\",\"args\":[1,\"a\"]{fields}}}");
        assert_eq!(self.ask(&format!("PUSH {job}")), "+OK");
    }

    #[track_caller]
    fn end(&mut self, word: &str, jid: &str) -> String {
        self.ask(&format!(
            "{word} {{\"jid\":\"{jid}\",\"errtype\":\"Error\",\"message\":\"no\",\"backtrace\":[\"line 1\"]}}"
        ))
    }
}
