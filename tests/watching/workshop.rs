//! A project whose sources can be changed and built, by a cargo that only pretends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::server::Server;
use crate::harness::{Project, house};

/// Builds a program that is the real one, by another name; waits at the gate, fails or changes nothing if it is to.
const CARGO: &str = r#"#!/bin/sh
echo "$1" >>calls
[ "$1" = build ] || exit 0
source=$(cat app/main.rs)
[ -f broken ] && { echo 'error: it does not compile' >&2; exit 101; }
[ -p gate ] && { echo 'the build is under way' >&2; cat gate; }
[ -f beside ] && sh ./beside
if ! [ -f unchanged ]; then
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$PROGRAM" >target/release/new
    chmod +x target/release/new
    mv target/release/new target/release/think
fi
echo "built from $source" >&2
"#;

/// A project with a launcher, a program that it has built, and a cargo that only pretends.
pub(crate) fn workshop() -> Project {
    let project = Project::new();
    for folder in ["tools", "target/release", ".git", "runtime"] {
        fs::create_dir_all(project.path(folder)).unwrap();
    }
    let program = env!("CARGO_BIN_EXE_think");
    let built = project.path("target/release/think");
    if fs::hard_link(program, &built).is_err() {
        install(Path::new(program), &built);
    }
    install(&house().join("think"), &project.path("think"));
    project.write("cargo", CARGO);
    install(&project.path("cargo"), &project.path("tools/cargo"));
    for (file, text) in [("Cargo.toml", ""), ("app/main.rs", "one"), ("target/release/think.stamp", "")] {
        project.write(file, text);
    }
    project
}

/// By another process, as tests/launcher.rs explains.
fn install(from: &Path, to: &Path) {
    assert!(Command::new("install").args(["-m", "755"]).args([from, to]).status().unwrap().success());
}

pub(crate) fn command(project: &Project, program: &str) -> Command {
    let mut command = Command::new(project.path(program));
    let tools = project.path("tools").into_os_string().into_string().unwrap();
    command
        .current_dir(project.path(""))
        .env("PATH", format!("{tools}:/usr/bin:/bin"))
        .env("PROGRAM", env!("CARGO_BIN_EXE_think"))
        .env("THINK_ROOT", project.path(""))
        .env_remove("CARGO_TARGET_DIR");
    command
}

/// A server that is watched; its process is that of the keeper.
pub(crate) fn watched(project: Project) -> Server {
    let mut command = command(&project, "target/release/think");
    command.args(["task:start", "--watch", "--port", "0"]);
    Server::of(project, &mut command)
}

pub(crate) fn calls(project: &Project) -> String {
    fs::read_to_string(project.path("calls")).unwrap_or_default().replace('\n', " ").trim_end().to_owned()
}

/// A build waits there.
pub(crate) struct Gate(PathBuf);

pub(crate) fn gate(project: &Project) -> Gate {
    let path = project.path("gate");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    Gate(path)
}

impl Gate {
    /// For the one that waits, and for good.
    pub(crate) fn open(self) {
        let opened = File::options().write(true).open(&self.0).unwrap();
        fs::remove_file(&self.0).unwrap();
        drop(opened);
    }
}
