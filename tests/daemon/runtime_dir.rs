//! Where the program writes: in `runtime/` of its project, in the folder of the settings, or beside itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::daemon::{self, Daemon};
use crate::harness::process::install;
use crate::harness::{Project, Ran};

/// The names in a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn runtime_dir_has_all_that_a_server_and_its_tasks_write() {
    let elsewhere = Project::new();
    let project = daemon::project();
    project.write("config/runtime.toml", &format!("dir = \"{}/data\"\n", elsewhere.path("").display()));
    let daemon = Daemon::start(project, "");
    let mail = r#"task:send send_mail {"to":"ada@example.com","title":"Hi","content":"x"} --wait"#;
    assert!(daemon.project.think(mail).exits(0).stdout.contains("runtime/mail/"), "as the settings name it");
    daemon.project.think("task:reload").exits(0);
    daemon.project.think("task:send echo hi --wait").exits(0);

    let written = names(&elsewhere.path("data"));
    for name in ["mail", "queue.db", "server.log", "server.pid", "server.sock"] {
        assert!(written.contains(name), "{name} is not in {written:?}");
    }
    assert_eq!(fs::read_dir(elsewhere.path("data/mail")).unwrap().count(), 1);
    assert_eq!(names(&daemon.project.path("")), ["app", "config"].map(str::to_owned).into());
    assert_eq!(daemon.project.think("doctor --json").exits(0).json()[0]["state"], "ok");
    daemon.project.think("task:stop").exits(0);
}

#[test]
fn runtime_dir_that_is_wrong_is_an_error_and_nothing_is_written() {
    let project = Project::new();
    project.write("config/runtime.toml", "dri = \"/data\"\n");
    let ran = project.think("task:start").exits(1);
    assert!(
        ran.stderr.contains("config/runtime.toml:1: `dri` is not a setting; the settings are: dir"),
        "{ran:?}"
    );
    assert_eq!(names(&project.path("")), ["app", "config"].map(str::to_owned).into());
}

#[test]
fn program_without_a_project_has_the_defaults_and_writes_beside_itself() {
    // Nowhere above it is a project.
    let place = TempDir::new().unwrap();
    let path = |file: &str| place.path().join(file);
    fs::create_dir(path("alone")).unwrap();
    fs::create_dir(path("bin")).unwrap();
    let source = Path::new(env!("CARGO_BIN_EXE_think"));
    install(source, &path("alone/think"));
    install(source, &path("bin/think"));
    let think = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(path(program));
        command.args(arguments).current_dir("/").env_clear().env("THINK_SERVER_PORT", "0");
        command
    };

    Ran::of(&mut think("alone/think", &["task:start", "-d"])).exits(0);
    let sent = Ran::of(&mut think("alone/think", &["task:send", "echo", "hi", "--wait"]));
    assert_eq!(sent.exits(0).stdout, "0\n\"hi -> OK\"\n");
    Ran::of(&mut think("alone/think", &["task:stop"])).exits(0);
    assert_eq!(names(&path("alone")), ["runtime", "think"].map(str::to_owned).into());

    let ran = Ran::of(&mut think("bin/think", &["task:status"])).exits(1);
    assert!(ran.stderr.contains("no project found") && ran.stderr.contains("new PATH"), "{ran:?}");
    let data = path("data");
    let named = Ran::of(think("bin/think", &["task:start", "-d"]).env("THINK_RUNTIME_DIR", &data));
    named.exits(0);
    let status = Ran::of(think("bin/think", &["task:stop"]).env("THINK_RUNTIME_DIR", &data));
    status.exits(0);
    assert!(names(&data).contains("queue.db") && names(&path("bin")).len() == 1);
}

#[test]
fn runtime_dir_that_others_use_is_refused_and_left_as_it_is() {
    let project = Project::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let shared = project.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("theirs"), "x").unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&shared, 0o1777);
    set(&shared.join("theirs"), 0o644);
    let start = |arguments: &str| {
        let mut command = project.command();
        command.args(["task:start", "--port", "0"]).args(arguments.split_whitespace());
        Ran::of(command.env("THINK_RUNTIME_DIR", &shared))
    };
    for arguments in ["", "-d"] {
        let ran = start(arguments).exits(1);
        assert!(ran.stderr.contains("shared can be opened by other users"), "{ran:?}");
        assert_eq!(names(&shared), ["theirs".to_owned()].into());
        assert_eq!((mode(&shared), mode(&shared.join("theirs"))), (0o1777, 0o644));
    }
    // It is private now, and what is in it stays as it is.
    set(&shared, 0o700);
    start("-d").exits(0);
    Ran::of(project.command().arg("task:stop").env("THINK_RUNTIME_DIR", &shared)).exits(0);
    assert_eq!((mode(&shared), mode(&shared.join("theirs"))), (0o700, 0o644));
    // It is known as the program's own from now on, whoever sets its mode.
    set(&shared, 0o2775);
    start("-d").exits(0);
    Ran::of(project.command().arg("task:stop").env("THINK_RUNTIME_DIR", &shared)).exits(0);
    assert_eq!(mode(&shared) & 0o777, 0o700);
}
