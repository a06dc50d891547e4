//! `make:service`: generates a systemd unit for the server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use framework::prelude::*;
use framework::server::{ListenerSettings, ServerSettings};

use super::unit::{Unit, UnitFiles, quoted};
use super::{may_overwrite, write};

/// Generate a systemd unit for the task server
///
/// Writes runtime/NAME.service with this project's paths. The service is sandboxed: it may write only to
/// runtime/; add what your handlers need to ReadWritePaths.
#[derive(Args, Command)]
#[command(name = "make:service")]
struct MakeService {
    /// Name of the service
    #[arg(default_value = "think")]
    name: String,
    /// User to run as
    #[arg(long, default_value = "www-data")]
    user: String,
    /// Also write runtime/NAME.socket: systemd listens, even while the server is down (socket activation)
    #[arg(long)]
    socket: bool,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
}

impl Execute for MakeService {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let Self { name, user, socket, force } = self;
        let plain = |text: &str| {
            text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_.@".contains(&letter))
        };
        if name.is_empty() || !plain(&name) || user.is_empty() || !plain(&user) {
            return Err(Exit::Usage
                .error("a service and a user may have only letters, digits, `-`, `_`, `.` and `@`"));
        }
        let config = app.config()?;
        let settings: ServerSettings = config.section()?;
        let program = std::env::current_exe().context("finding the program's own file")?;
        let root = config.root();
        let unit = Unit {
            description: &format!("Task server of {}", root.display()),
            root,
            program: &program,
            user: &user,
            grace: settings.max_wait_time,
            socket: socket.then_some(name.as_str()),
            files: UnitFiles::OfProject(config.runtime_dir()),
        };
        let unit = unit.text()?;
        let mut files = vec![(format!("runtime/{name}.service"), unit)];
        if socket {
            files.push((format!("runtime/{name}.socket"), sockets(root, &settings)?));
        }
        for (file, unit) in &files {
            let force = force || may_overwrite(app, output, file)?;
            write(&root.join(file), unit, force).with_context(|| format!("writing {file}"))?;
            output.success(format_args!("Wrote {file}."));
        }
        let files: Vec<_> = files.iter().map(|(file, _)| format!("./{file}")).collect();
        output.note(format_args!(
            "Make runtime/ writable for {user}, then: systemctl enable --now {}",
            files.join(" ")
        ));
        Ok(())
    }
}

/// The unit with the listeners of the settings; the control socket remains the server's own.
fn sockets(root: &Path, settings: &ServerSettings) -> Result<String> {
    let listeners = std::iter::once(settings.first_listener()).chain(settings.listeners.iter().cloned());
    let streams: Vec<_> = listeners.map(|listener| stream(root, &listener)).collect::<Result<_>>()?;
    let (root, backlog) = (quoted(root)?, settings.backlog);
    Ok(format!(
        r"[Unit]
Description=Sockets of the task server of {root}

[Socket]
{}
Backlog={backlog}
SocketMode=0600

[Install]
WantedBy=sockets.target
",
        streams.join("\n")
    ))
}

/// The address of a listener for systemd; the server finds it in its settings.
fn stream(root: &Path, listener: &ListenerSettings) -> Result<String> {
    if let Some(path) = listener.host.strip_prefix("unix:") {
        return Ok(format!("ListenStream={}", quoted(&root.join(path))?));
    }
    let port = listener.port.filter(|port| *port > 0).context("systemd needs a port that is not 0")?;
    let host: IpAddr = match listener.host.as_str() {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => {
            host.parse().with_context(|| format!("systemd needs the IP address of the host \"{host}\""))?
        }
    };
    Ok(format!("ListenStream={}", SocketAddr::new(host, port)))
}
