//! Socket activation: sockets that a service manager has opened.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use crate::harness::client::Client;
use crate::harness::lines::Lines;
use crate::harness::process::{kill, wait};
use crate::harness::{Project, Ran};

/// `task:start` as a service manager starts it: with a socket as its third open file.
fn command(project: &Project, socket: impl Into<OwnedFd>) -> Command {
    let think = project.command();
    let mut command = Command::new("sh");
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&0 </dev/null";
    command.args(["-c", script, "sh"]).arg(think.get_program()).arg("task:start");
    command.env("THINK_ROOT", project.path("")).stdin(Stdio::from(socket.into())).stderr(Stdio::piped());
    command
}

/// A server that is killed at the end of a test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}

#[test]
fn inherited_socket_serves_clients_that_connected_before_the_start() {
    let project = Project::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    project.write("config/server.toml", &format!("port = {}\n", address.port()));
    let mut early = Client::connect(&address.to_string());
    early.send("{\"function\":\"echo\",\"args\":\"1\",\"reply\":\"result\"}\n");
    let server = Killed(command(&project, listener).spawn().unwrap());
    assert_eq!(early.json()["result"], "1 -> OK");
    drop(server);
}

#[test]
fn inherited_unix_socket_stays_when_the_server_ends() {
    let project = Project::new();
    let path = project.path("inherited.sock");
    let listener = UnixListener::bind(&path).unwrap();
    project.write("config/server.toml", "port = 0\n[[listeners]]\nhost = \"unix:inherited.sock\"\n");
    let mut server = Killed(command(&project, listener).spawn().unwrap());
    let lines = Lines::of(server.0.stderr.take().unwrap());
    lines.line_with("unix:inherited.sock");
    // The reload leaves another process, which ends then.
    project.think("task:reload").exits(0);
    project.think("task:stop").exits(0);
    assert!(wait(&mut server.0).success());
    assert!(path.exists() && UnixStream::connect(&path).is_err());
}

#[test]
fn inherited_socket_that_no_listener_names_is_rejected() {
    let project = Project::new();
    project.write("config/server.toml", "port = 0\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ran = Ran::finish(command(&project, listener).spawn().unwrap()).exits(1);
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("host and port"), "{}", ran.stderr);
    let file = std::fs::File::open("/dev/null").unwrap();
    let ran = Ran::finish(command(&project, file).spawn().unwrap()).exits(1);
    assert!(ran.stderr.contains("LISTEN_FDS"), "{}", ran.stderr);
}

#[test]
fn socket_unit_names_every_listener() {
    let project = Project::new();
    let further =
        "[[listeners]]\nhost = \"::1\"\nport = 9502\n[[listeners]]\nhost = \"unix:runtime/think.sock\"\n";
    project.write("config/server.toml", &format!("backlog = 77\n{further}"));
    project.think("make:service mailer --socket").exits(0);
    let unit = project.read("runtime/mailer.socket");
    let path = project.path("runtime/think.sock").display().to_string();
    for line in ["127.0.0.1:9501", "[::1]:9502", &path].map(|place| format!("ListenStream={place}")) {
        assert!(unit.lines().any(|there| there == line), "{line}: {unit}");
    }
    assert!(unit.contains("Backlog=77\n"));
    let service = project.read("runtime/mailer.service");
    assert!(service.contains("Requires=mailer.socket\n") && service.contains(" task:reload\n"), "{service}");
    project.write("config/server.toml", "port = 0\n");
    let ran = project.think("make:service other --socket").exits(1);
    assert!(ran.stderr.contains("a port that is not 0"), "{}", ran.stderr);
    assert!(!project.path("runtime/other.service").exists());
}
