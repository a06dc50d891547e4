//! The protocol of beanstalkd.

mod clients;
mod drain;
mod jobs;
mod listeners;
mod reference;
mod restarts;

use serde_json::Value;

use crate::harness::Project;
use crate::harness::client::Client;
use crate::harness::server::Server;

/// The settings of a server that speaks it, and takes strictly by priority.
const SETTINGS: &str = "oldest_first_every = 0\n[[listeners]]\nport = 0\nprotocols = [\"beanstalkd\"]\n";

fn server() -> Server {
    Server::with_settings(SETTINGS)
}

/// A server that speaks it, with these settings beside.
fn server_with(settings: &str) -> Server {
    Server::with(Project::with_settings(&format!("{settings}\n{SETTINGS}")), "")
}

/// The address of its listener that speaks it.
fn address(server: &Server) -> String {
    let status = server.status();
    let addresses = status["addresses"].as_array().unwrap();
    let is_it = |address: &&Value| address["protocols"][0] == "beanstalkd";
    addresses.iter().find(is_it).unwrap()["address"].as_str().unwrap().to_owned()
}

/// A client of beanstalkd.
struct Beanstalk(Client);

impl Beanstalk {
    fn connect(server: &Server) -> Self {
        Self::at(&address(server))
    }

    fn at(address: &str) -> Self {
        Self(Client::connect(address))
    }

    /// Sends a command, and returns the first line of the answer.
    #[track_caller]
    fn ask(&mut self, command: &str) -> String {
        self.0.send(format!("{command}\r\n"));
        self.line()
    }

    #[track_caller]
    fn line(&mut self) -> String {
        self.0.line().trim_end_matches("\r\n").to_owned()
    }

    /// Puts a job, and returns its id.
    #[track_caller]
    fn put(&mut self, numbers: &str, body: &str) -> u64 {
        let answer = self.ask(&format!("put {numbers} {}\r\n{body}", body.len()));
        answer.strip_prefix("INSERTED ").unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
    }

    /// Sends a command whose answer has a body, and returns both: `RESERVED 7` and the body.
    #[track_caller]
    fn fetch(&mut self, command: &str) -> (String, String) {
        let line = self.ask(command);
        self.body(&line)
    }

    /// Reads the body that follows a line, if one does.
    #[track_caller]
    fn body(&mut self, line: &str) -> (String, String) {
        let has_body = ["RESERVED ", "FOUND ", "OK "].iter().any(|word| line.starts_with(word));
        if !has_body {
            return (line.to_owned(), String::new());
        }
        let (head, length) = line.rsplit_once(' ').unwrap();
        let body = self.0.exactly(length.parse::<usize>().unwrap() + 2);
        (head.to_owned(), body.strip_suffix("\r\n").unwrap().to_owned())
    }

    /// A number or a word of a document.
    #[track_caller]
    fn stat(&mut self, command: &str, name: &str) -> String {
        let (_, document) = self.fetch(command);
        let line = document.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name} in {document:?}")).to_owned()
    }
}
