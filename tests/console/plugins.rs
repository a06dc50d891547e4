//! Commands that are programs of their own on the path.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::harness::{Project, Ran};

/// A project with a plugin, and the program with that on its path.
fn plugin(file: &str, script: &str) -> (Project, Command) {
    let project = Project::new();
    fs::create_dir(project.path("plugins")).unwrap();
    project.write(&format!("plugins/{file}"), script);
    fs::set_permissions(project.path(&format!("plugins/{file}")), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = project.command();
    let path = format!("{}:/usr/bin:/bin", project.path("plugins").display());
    command.env("PATH", path);
    (project, command)
}

#[test]
fn program_on_the_path_is_a_command_with_its_arguments_and_exit_code() {
    let (_project, mut command) = plugin("think-demo-count", "#!/bin/sh\necho \"$# $1\"\nexit 7\n");
    let ran = Ran::of(command.args(["demo:count", "--times", "2"])).exits(7);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("2 --times\n", ""));
}

#[test]
fn list_shows_plugins_with_their_source() {
    let (project, mut command) = plugin("think-demo-count", "#!/bin/sh\n");
    let list = Ran::of(command.args(["list", "demo", "--json"])).exits(0).json();
    let path = project.path("plugins/think-demo-count").display().to_string();
    assert_eq!(list[0]["name"], "demo:count");
    assert_eq!(list[0]["package"], "plugin");
    assert_eq!(list[0]["file"], path);
    let text = Ran::of(command.env("COLUMNS", "200")).exits(0);
    assert!(text.stdout.contains("demo:count"), "{}", text.stdout);
}

#[test]
fn plugin_never_takes_the_name_of_a_built_in_command() {
    let (_project, mut command) = plugin("think-demo-hello", "#!/bin/sh\necho no\n");
    assert_eq!(Ran::of(command.args(["demo:hello", "Ada"])).exits(0).stdout, "Hello, Ada!\n");
}

#[test]
fn file_that_cannot_be_run_is_no_plugin() {
    let (project, mut command) = plugin("think-demo-count", "#!/bin/sh\n");
    let file = project.path("plugins/think-demo-count");
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Ran::of(command.arg("demo:count")).exits(2).stderr.contains("there is no command"));
}
