//! What `doctor` looks at.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use framework::config::Config;
use framework::prelude::*;
use framework::server::{ServerSettings, needed_files};
use rustix::fs::{Access, access};
use rustix::process::{Resource, geteuid, getrlimit};

use super::{Finding, disk};
use crate::options::server_address::ServerAddress;

/// A clock before 2025 was never set.
const LEAST_TIME: Duration = Duration::from_secs(1_735_689_600);
/// The permissions of others and of the group.
const FOREIGN: u32 = 0o077;

/// All findings, in the order in which they matter.
pub(super) async fn run(app: &App) -> Vec<Finding> {
    let mut findings = vec![commands(app), clock()];
    let config = match app.config() {
        Ok(config) => config,
        Err(error) => {
            findings.insert(0, Finding::error("project", format!("{error:#}"), "run it within a project"));
            return findings;
        }
    };
    findings.insert(0, Finding::ok("project", config.root().display().to_string()));
    findings.insert(1, settings(config));
    findings.extend([permissions(config.runtime_dir()), disk::room(config), disk::speed(config)]);
    if let Ok(settings) = config.section::<ServerSettings>() {
        findings.extend([port(&settings, app).await, descriptors(&settings)]);
        findings.extend(pid_file(config, &settings));
    }
    findings
}

fn commands(app: &App) -> Finding {
    let Some(registry) = Registry::running(app) else {
        return Finding::warning("commands", "there is no console", "run it through Console");
    };
    match registry.problems() {
        [] => {
            Finding::ok("commands", format!("{} commands, each with its own name", registry.iter().count()))
        }
        [first, ..] => Finding::error("commands", first.to_string(), "rename one of them"),
    }
}

fn settings(config: &Config) -> Finding {
    match config.check_all() {
        Ok(()) => Finding::ok("settings", "every key is known and every value fits"),
        Err(problems) => Finding::error(
            "settings",
            problems.to_string(),
            "`config:show` shows where each value comes from",
        ),
    }
}

fn clock() -> Finding {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(time) if time >= LEAST_TIME => Finding::ok("clock", "it is set"),
        _ => Finding::error("clock", "it was never set", "start a time service, such as systemd-timesyncd"),
    }
}

fn permissions(folder: &Path) -> Finding {
    let shown = folder.display();
    let Ok(metadata) = fs::metadata(folder) else {
        let above = folder.ancestors().skip(1).find(|above| above.exists()).unwrap_or(folder);
        return match access(above, Access::WRITE_OK) {
            Err(error) => Finding::error(
                "permissions",
                format!("{shown} is missing, and {} cannot be written: {error}", above.display()),
                "create the folder for this user, or name another one (THINK_RUNTIME_DIR)",
            ),
            Ok(()) => Finding::ok("permissions", format!("{shown} is created when it is needed")),
        };
    };
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    if owner != user {
        let found = format!("{shown} belongs to the user {owner}, and this is the user {user}");
        return Finding::error("permissions", found, "run as that user, or give the folder to this one");
    }
    if metadata.permissions().mode() & FOREIGN != 0 {
        let found = format!("others can enter {shown}");
        return Finding::warning("permissions", found, "the next start of the server takes it from them");
    }
    Finding::ok("permissions", format!("{shown} is for this user alone"))
}

async fn port(settings: &ServerSettings, app: &App) -> Finding {
    let address = format!("{}:{}", settings.host, settings.port);
    if settings.host.starts_with("unix:") {
        return Finding::ok("port", format!("{} is no port", settings.host));
    }
    // A server that does not answer does not have its port for certain.
    let server = ServerAddress::at(None).connect_if_running(app).await.ok().flatten();
    if let Some(client) = server {
        let listens = client
            .status()
            .await
            .is_ok_and(|status| status.addresses.iter().any(|listener| listener.address == address));
        if listens {
            return Finding::ok("port", format!("{address} is that of this project's running server"));
        }
    }
    match TcpListener::bind((settings.host.as_str(), settings.port)) {
        Ok(_) => Finding::ok("port", format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Finding::warning(
            "port",
            format!("{address} is in use"),
            "this project's server does not have it: end what has it, or set another `port`",
        ),
        Err(error) => Finding::error(
            "port",
            format!("{address} cannot be used: {error}"),
            "set `host` and `port` in config/server.toml",
        ),
    }
}

fn descriptors(settings: &ServerSettings) -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let wanted = needed_files(settings.max_connection);
    match (limit.current, limit.maximum) {
        (_, Some(hard)) if hard < wanted => Finding::warning(
            "files",
            format!("{hard} files may be open, and max_connection needs {wanted}"),
            "raise the limit (`ulimit -n`, LimitNOFILE), or lower max_connection",
        ),
        (soft, _) => {
            let soft = soft.map_or("any number of".to_owned(), |soft| soft.to_string());
            Finding::ok("files", format!("{soft} files may be open, and the server may raise that"))
        }
    }
}

/// A pid file whose process is gone.
fn pid_file(config: &Config, settings: &ServerSettings) -> Option<Finding> {
    let path = config.path(settings.pid_file.as_ref()?);
    let pid: u32 = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
    if Path::new(&format!("/proc/{pid}")).exists() {
        return Some(Finding::ok("pid file", format!("{} names the process {pid}", path.display())));
    }
    let found = format!("{} names the process {pid}, which is gone", path.display());
    Some(Finding::warning("pid file", found, "the next start of the server replaces it"))
}
