//! A server of the real program, and clients that talk to it over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Project, Ran};

/// Longer than anything here takes: what has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// `task:start` on a free port, ended with its owner.
pub(crate) struct Server {
    pub(crate) project: Project,
    pub(crate) address: String,
    child: Child,
    lines: Receiver<String>,
}

impl Server {
    /// Starts with this project's own settings.
    pub(crate) fn start() -> Self {
        Self::with(Project::new(), "")
    }

    /// Starts in a project, with further arguments.
    pub(crate) fn with(project: Project, arguments: &str) -> Self {
        Self::with_environment(project, arguments, &[])
    }

    /// Starts with these variables, too.
    pub(crate) fn with_environment(project: Project, arguments: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = project.command();
        command.args(["task:start", "--port", "0"]).args(arguments.split_whitespace());
        command.envs(variables.iter().copied());
        Self::of(project, &mut command)
    }

    /// Starts in a project by this command.
    pub(crate) fn of(project: Project, command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stderr.take().unwrap());
        let mut server = Self { project, address: String::new(), child, lines };
        let line = server.line_with("The task server listens on ");
        let addresses = line.split_once("listens on ").unwrap().1.split_once(". ").unwrap().0;
        let address = addresses.split(" and ").next().unwrap();
        address.clone_into(&mut server.address);
        server
    }

    /// The next line that the server says.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the server says one more line")
    }

    /// The next line with this in it; those before it are skipped.
    #[track_caller]
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let mut skipped = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => skipped.push(line),
                Err(_) => panic!("no line with {text:?} among {skipped:#?}"),
            }
        }
    }

    /// Whether it has said something with this in it by now; what it said before that is gone.
    pub(crate) fn said(&mut self, text: &str) -> bool {
        self.lines.try_iter().any(|line| line.contains(text))
    }

    /// What it still says until its end.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.lines.iter().collect()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.address)
    }

    /// Runs a client command against this server.
    pub(crate) fn think(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.project.command().args(arguments).args(["--address", &self.address]))
    }

    /// `task:status --json`.
    pub(crate) fn status(&self) -> Value {
        let ran = self.think(&["task:status", "--json"]).exits(0);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and starts it again in the same project.
    pub(crate) fn again(mut self, arguments: &str) -> Self {
        self.exit_code();
        Self::with(std::mem::replace(&mut self.project, Project::new()), arguments)
    }

    /// Waits for its end.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already over is as good.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

/// What a process says, read on while nobody looks, so that it never waits for a reader.
pub(crate) fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

/// A plain TCP client, such as telnet.
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
        self
    }

    /// The next line, with its end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line
    }

    /// Whether a next line comes, with this in it.
    pub(crate) fn says(&mut self, text: &str) -> bool {
        let mut line = String::new();
        self.reader.read_line(&mut line).is_ok() && line.contains(text)
    }

    /// The next line as JSON.
    #[track_caller]
    pub(crate) fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// So many bytes.
    pub(crate) fn exactly(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Sends no more; what is left is a message.
    pub(crate) fn end(&mut self) -> &mut Self {
        self.reader.get_mut().shutdown(Shutdown::Write).unwrap();
        self
    }

    /// All that comes until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).unwrap();
        rest
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.reader.get_mut()
    }

    /// The socket, before anything was read.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.reader.into_inner()
    }
}
