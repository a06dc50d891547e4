//! A PostgreSQL server of its own, from the programs that Debian's package installs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

use super::eventually::eventually;

/// The settings of a server with each kind of store: a file, memory, and a database.
pub(crate) fn every_store() -> [String; 3] {
    let cluster = Cluster::shared();
    let database = format!("store = \"{}\"\nstore_schema = \"{}\"\n", cluster.address(), cluster.schema());
    [String::new(), "durability = \"memory\"\n".to_owned(), database]
}

/// A database server in a folder of its own, reached by a socket there. It ends with the test, or with the
/// process of the tests, however that ends.
pub(crate) struct Cluster {
    folder: TempDir,
    bin: PathBuf,
    owner: Option<(u32, u32)>,
    server: Mutex<Option<Child>>,
    /// Further settings, each as `name=value`.
    settings: Mutex<Vec<String>>,
    /// The other end of this pipe ends the server, and removes the folder, when this process is gone.
    guard: Child,
}

impl Cluster {
    /// The server of all tests that only need a schema.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Makes a server and starts it.
    pub(crate) fn start() -> Self {
        super::installed();
        let folder = TempDir::new().unwrap();
        let (bin, owner) = (programs(), unprivileged());
        for part in ["data", "sockets"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        if let Some((user, group)) = owner {
            for part in [folder.path().to_owned(), folder.path().join("data"), folder.path().join("sockets")]
            {
                chown(part, Some(user), Some(group)).unwrap();
            }
        }
        let guard = guard(folder.path());
        let cluster =
            Self { folder, bin, owner, server: Mutex::new(None), settings: Mutex::default(), guard };
        let mut initdb = cluster.command("initdb");
        initdb.args(["--username=think", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        let made = initdb.arg("-D").arg(cluster.folder.path().join("data")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        cluster.run();
        cluster
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.stdin(Stdio::null()).env("TZ", "UTC").current_dir(self.folder.path());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts the server, and waits until it answers.
    pub(crate) fn run(&self) {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.folder.path().join("data"));
        server.arg("-k").arg(self.folder.path().join("sockets"));
        server.args([
            "-c",
            "listen_addresses=",
            "-c",
            "max_connections=400",
            "-c",
            "shared_buffers=64MB",
            "-c",
            "fsync=off",
        ]);
        self.settings.lock().unwrap().iter().for_each(|setting| {
            server.arg("-c").arg(setting);
        });
        let server = server.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        *self.server.lock().unwrap() = Some(server);
        eventually("PostgreSQL answers", || {
            let mut ready = self.command("pg_isready");
            ready.arg("-p").arg(self.port());
            let ready = ready.arg("-h").arg(self.folder.path().join("sockets")).output().unwrap();
            ready.status.success().then_some(())
        });
    }

    fn port(&self) -> String {
        let settings = self.settings.lock().unwrap();
        let port = settings.iter().find_map(|setting| setting.strip_prefix("port="));
        port.unwrap_or("5432").to_owned()
    }

    /// Kills the server, as a power cut would.
    pub(crate) fn kill(&self) {
        if let Some(mut server) = self.server.lock().unwrap().take() {
            let data = self.folder.path().join("data");
            let mut stop = self.command("pg_ctl");
            let stopped = stop.args(["stop", "-m", "immediate", "-w", "-D"]).arg(data).output().unwrap();
            assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
            server.wait().unwrap();
        }
    }

    /// Starts the server anew with TLS on a port of the loopback device, for roles with a password.
    pub(crate) fn listen(&self, port: u16, certificate: &str, key: &str) {
        self.kill();
        let data = self.folder.path().join("data");
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            fs::write(data.join(name), text).unwrap();
            fs::set_permissions(data.join(name), fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = self.owner {
                chown(data.join(name), Some(user), Some(group)).unwrap();
            }
        }
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        let settings = [format!("port={port}"), "listen_addresses=127.0.0.1".into(), "ssl=on".into()];
        self.settings.lock().unwrap().extend(settings);
        self.run();
    }

    /// The address of the database.
    pub(crate) fn address(&self) -> String {
        let sockets = self.folder.path().join("sockets").display().to_string().replace('/', "%2F");
        format!("postgres://think@{sockets}/postgres")
    }

    /// The name of a schema that no other test has.
    pub(crate) fn schema(&self) -> String {
        static LAST: AtomicU32 = AtomicU32::new(0);
        format!("test_{}", LAST.fetch_add(1, Ordering::Relaxed))
    }

    /// Executes a statement; returns the rows as psql prints them.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let mut psql = self.command("psql");
        psql.arg("-p").arg(self.port());
        psql.args(["-U", "think", "-d", "postgres", "-XAtqc", sql, "-v", "ON_ERROR_STOP=1", "-h"]);
        let done = psql.arg(self.folder.path().join("sockets")).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The folder with the programs of the newest version that is installed.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed (tests/install)");
    let versions = versions.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.max().expect("PostgreSQL is installed (tests/install)");
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
}

/// The user for a server that root starts, which it refuses to be.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let user = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = user.filter(|fields| ["postgres", "nobody"].contains(&fields[0]));
    let found = user.max_by_key(|fields| fields[0] == "postgres").expect("there is a user for it");
    Some((found[2].parse().unwrap(), found[3].parse().unwrap()))
}

/// Ends what runs in a folder, and removes it, when this process is gone.
fn guard(folder: &Path) -> Child {
    let script = "cat; if [ -f \"$0/data/postmaster.pid\" ]; then \
                  kill -QUIT \"$(head -1 \"$0/data/postmaster.pid\")\"; sleep 1; fi; rm -rf \"$0\"";
    let mut guard = Command::new("sh");
    guard.args(["-c", script]).arg(folder).process_group(0).stdin(Stdio::piped());
    guard.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
