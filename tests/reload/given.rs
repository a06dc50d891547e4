//! Sockets that a service manager has opened.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};

use crate::harness::server::{Client, lines_of};
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

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        self.0.wait().unwrap();
    }
}

#[test]
fn whoever_connected_before_the_server_started_is_served() {
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
fn a_socket_of_the_file_system_stays_when_the_server_ends() {
    let project = Project::new();
    let path = project.path("given.sock");
    let listener = UnixListener::bind(&path).unwrap();
    project.write("config/server.toml", "port = 0\n[[listeners]]\nhost = \"unix:given.sock\"\n");
    let mut server = Killed(command(&project, listener).spawn().unwrap());
    let lines = lines_of(server.0.stderr.take().unwrap());
    assert!(lines.iter().any(|line| line.contains("unix:given.sock")));
    // Also when it is another process that ends.
    project.think("task:reload").exits(0);
    project.think("task:stop").exits(0);
    assert!(server.0.wait().unwrap().success());
    assert!(path.exists() && UnixStream::connect(&path).is_err());
}

#[test]
fn a_socket_that_the_settings_do_not_name_is_refused() {
    let project = Project::new();
    project.write("config/server.toml", "port = 0\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ran = Ran::of(&mut command(&project, listener)).exits(1);
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("host and port"), "{}", ran.stderr);
    let file = std::fs::File::open("/dev/null").unwrap();
    let ran = Ran::of(&mut command(&project, file)).exits(1);
    assert!(ran.stderr.contains("LISTEN_FDS"), "{}", ran.stderr);
}

#[test]
fn a_unit_for_the_sockets_names_every_listener() {
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
