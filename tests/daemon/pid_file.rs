//! The pid file, and what is taken for none.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::{FlockOperation, fcntl_lock};

use super::NOT_RUNNING;
use crate::harness::Project;
use crate::harness::daemon::{Daemon, project_with};

#[test]
fn pid_file_that_is_something_else_is_left_as_it_is() {
    let project = Project::new();
    project.write("notes", "Dear diary\n");
    project.write("number", "4194305\n");
    symlink("number", project.path("link")).unwrap();
    fs::hard_link(project.path("number"), project.path("hard")).unwrap();
    for (file, says) in [
        ("notes", "something else than a pid"),
        ("link", "symbolic link"),
        ("hard", "another name"),
        ("config", "config"),
        ("config/server.toml", "same file"),
        ("/dev/null", "not a regular file"),
    ] {
        project.write("config/server.toml", &format!("port = 0\npid_file = \"{file}\"\n"));
        let ran = project.think("task:start").exits(1);
        assert!(ran.stderr.contains("pid_file") && ran.stderr.contains(says), "{file}: {ran:?}");
    }
    assert_eq!(project.read("notes"), "Dear diary\n");
    assert_eq!(project.read("number"), "4194305\n");
    assert!(project.path("link").is_symlink());
}

#[test]
fn pid_file_that_was_there_empty_stays() {
    let daemon = {
        let project = project_with("pid_file = \"server.pid\"\n");
        project.write("server.pid", "");
        Daemon::start(project, "")
    };
    assert_eq!(daemon.project.read("server.pid"), format!("{}\n", daemon.pid));
    daemon.think("task:stop").exits(0);
    assert_eq!(daemon.project.read("server.pid"), "");
}

#[test]
fn stop_leaves_a_process_alone_that_only_locks_the_pid_file() {
    let project = Project::new();
    fs::create_dir(project.path("runtime")).unwrap();
    project.write("runtime/server.pid", "4194305\n");
    let file =
        fs::OpenOptions::new().read(true).write(true).open(project.path("runtime/server.pid")).unwrap();
    for lock in [FlockOperation::NonBlockingLockShared, FlockOperation::NonBlockingLockExclusive] {
        // A command that takes the holder of the lock for a server would end this test.
        fcntl_lock(&file, lock).unwrap();
        project.think("task:stop").exits(NOT_RUNNING);
        project.think("task:stop --now").exits(NOT_RUNNING);
        let ran = project.think("task:start -d --port 0").exits(1);
        assert!(ran.stderr.contains("no task server of this project"), "{ran:?}");
    }
}
