//! A project whose sources can be changed and built, by a fake cargo.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::eventually::bounded;
use crate::harness::process::{install, make_fifo};
use crate::harness::server::Server;
use crate::harness::{Project, project_root};

/// Builds the real program by another name; the files `gate`, `broken` and `unchanged` have it wait, fail or
/// do nothing.
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

/// A project with a launcher, a program that it has built, and a fake cargo.
pub(crate) fn project_with_cargo() -> Project {
    let project = Project::new();
    for folder in ["tools", "target/release", ".git", "runtime"] {
        fs::create_dir_all(project.path(folder)).unwrap();
    }
    let program = env!("CARGO_BIN_EXE_think");
    let built = project.path("target/release/think");
    if fs::hard_link(program, &built).is_err() {
        install(Path::new(program), &built);
    }
    install(&project_root().join("think"), &project.path("think"));
    project.write("cargo", CARGO);
    install(&project.path("cargo"), &project.path("tools/cargo"));
    for (file, text) in [("Cargo.toml", ""), ("app/main.rs", "one"), ("target/release/think.stamp", "")] {
        project.write(file, text);
    }
    project
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

/// A server with `--watch`; its process is that of the supervisor.
pub(crate) fn watched(project: Project) -> Server {
    let mut command = command(&project, "target/release/think");
    command.args(["task:start", "--watch", "--port", "0"]);
    Server::of(project, &mut command)
}

pub(crate) fn calls(project: &Project) -> String {
    fs::read_to_string(project.path("calls")).unwrap_or_default().replace('\n', " ").trim_end().to_owned()
}

/// A named pipe at which a build waits.
pub(crate) struct Gate(PathBuf);

pub(crate) fn build_gate(project: &Project) -> Gate {
    let path = project.path("gate");
    make_fifo(&path);
    Gate(path)
}

impl Gate {
    /// Opens the gate for the build that waits, and removes it.
    pub(crate) fn open(self) {
        let path = self.0.clone();
        let opened =
            bounded("a build waits at the gate", move || File::options().write(true).open(path).unwrap());
        fs::remove_file(&self.0).unwrap();
        drop(opened);
    }
}
