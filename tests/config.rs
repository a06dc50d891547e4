//! Settings: files, environment, config:show, and what the server makes of them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;

use serde_json::Value;

use crate::harness::{Project, Ran, project_root};

/// Runs `config:show` with more arguments and variables.
fn show(project: &Project, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let variables = variables.iter().copied();
    Ran::of(project.command().arg("config:show").args(arguments).envs(variables))
}

fn sections(project: &Project) -> Value {
    let ran = show(project, &["--json"], &[]).exits(0);
    serde_json::from_str::<Value>(&ran.stdout).unwrap()["sections"].take()
}

/// A file with the settings in its comments made active.
fn with_comments_active(file: &str) -> String {
    let activate = |line: &str| match line.strip_prefix("# ").and_then(|rest| rest.split_once(" = ")) {
        Some((key, value)) if !key.contains(' ') => format!("{key} = {value}\n"),
        _ => format!("{line}\n"),
    };
    file.lines().map(activate).collect()
}

/// The names of the files in this project's own `config/`.
fn files() -> BTreeSet<String> {
    let files = fs::read_dir(project_root().join("config")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn config_show_names_the_origin_of_every_setting() {
    let project = Project::new();
    project.write("config/server.toml", "# the server\nbacklog = 16\nport = 1\n");
    let ran = show(&project, &["server"], &[("THINK_SERVER_PORT", "9600")]).exits(0);
    let words: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["server"]);
    assert!(words.contains(&vec!["backlog", "16", "config/server.toml:2"]), "{ran:?}");
    assert!(words.contains(&vec!["port", "9600", "THINK_SERVER_PORT"]), "{ran:?}");
    assert!(words.contains(&vec!["host", "\"127.0.0.1\"", "default"]), "{ran:?}");
    assert!(words.contains(&vec!["log_file", "none", "default"]), "{ran:?}");
}

#[test]
fn config_show_reports_every_problem_at_once() {
    let project = Project::new();
    project
        .write("config/server.toml", "port = 1\nworker_numm = 2\n\"task_ipc_mode \" = 1\nbacklog = \"x\"\n");
    project.write("config/sever.toml", "");
    let ran = show(&project, &[], &[("THINK_SERVER_CHROOT", "1"), ("THINK_SEVER_PORT", "1")]).exits(1);
    for (place, says) in [
        ("config/sever.toml: ", "did you mean config/server.toml?"),
        ("config/server.toml:2: ", "did you mean `worker_num`?"),
        ("config/server.toml:3: ", "tasks pass within one process"),
        ("config/server.toml:4: ", "must be a whole number"),
        ("THINK_SERVER_CHROOT: ", "confining the process"),
        ("THINK_SEVER_PORT: ", "did you mean THINK_SERVER_PORT?"),
    ] {
        assert!(ran.stderr.lines().any(|line| line.contains(place) && line.contains(says)), "{place}{ran:?}");
    }
}

#[test]
fn config_show_json_reports_a_broken_file() {
    let project = Project::new();
    project.write("config/server.toml", "port 1\n");
    let ran = show(&project, &["--json"], &[]).exits(1);
    let report = ran.json();
    let problem = report["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("config/server.toml:1: not valid TOML at column "), "{problem}");
    assert_eq!(report["sections"]["server"], Value::Null);
}

#[test]
fn config_show_rejects_an_unknown_section() {
    let ran = show(&Project::new(), &["sever"], &[]).exits(2);
    assert!(ran.stderr.contains("did you mean \"server\"?"), "{ran:?}");
}

#[test]
fn task_start_rejects_an_invalid_setting() {
    let ran =
        Ran::of(Project::new().command().arg("task:start").env("THINK_SERVER_WORKER_NUM", "0")).exits(1);
    assert!(ran.stderr.contains("THINK_SERVER_WORKER_NUM: `worker_num` must be from 1 to"), "{ran:?}");
}

#[test]
fn project_root_is_found_from_a_subdirectory() {
    let project = Project::new();
    project.write("config/server.toml", "backlog = 16\n");
    let mut command = project.command();
    let ran = Ran::of(command.arg("config:show").env_remove("THINK_ROOT").current_dir(project.path("app")));
    assert!(ran.exits(0).stdout.contains("config/server.toml:1"));
}

#[test]
fn missing_project_root_is_named() {
    let ran = show(&Project::new(), &[], &[("THINK_ROOT", "/no/such/project")]).exits(1);
    assert!(ran.stderr.contains("THINK_ROOT is /no/such/project"), "{ran:?}");
}

#[test]
fn project_config_files_are_valid() {
    show(&Project::new(), &[], &[("THINK_ROOT", project_root().to_str().unwrap())]).exits(0);
}

#[test]
fn config_files_name_every_key_with_its_default() {
    /// Settings whose defaults depend on the machine: the file can only show an example.
    const OF_THE_MACHINE: [&str; 3] = ["worker_num", "task_threads", "task_worker_num"];
    let project = Project::new();
    let defaults = sections(&project);
    for file in files() {
        let text = fs::read_to_string(project_root().join("config").join(&file)).unwrap();
        project.write(&format!("config/{file}"), &with_comments_active(&text));
    }
    let given = sections(&project);
    for (section, settings) in given.as_object().unwrap() {
        let file = format!("config/{section}.toml");
        let text =
            fs::read_to_string(project_root().join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for (key, setting) in settings.as_object().unwrap() {
            let origin = setting["from"].as_str().unwrap();
            assert!(origin.starts_with(&file), "{file} lacks {key}");
            let default = &defaults[section][key]["value"];
            let is_active = text.lines().any(|line| line.starts_with(&format!("{key} = ")));
            if is_active {
                assert_ne!(
                    &setting["value"], default,
                    "{file}: {key} is at its default and need not be active"
                );
            } else if !default.is_null() && !OF_THE_MACHINE.contains(&key.as_str()) {
                assert_eq!(&setting["value"], default, "{file}: {key}");
            }
        }
    }
}

#[test]
fn project_or_settings_of_another_user_are_refused_unless_they_are_named() {
    let project = Project::new();
    project.write("config/client.toml", "token = \"0123456789abcdef\"\n");
    let give = |file: &str| chown(project.path(file), Some(65534), None).is_ok();
    let shown = || Ran::of(project.command().arg("config:show").env_remove("THINK_ROOT"));
    shown().exits(0);
    // Only root can give a file away.
    if !give("config/client.toml") {
        return;
    }
    let refused = shown().exits(1);
    assert!(
        refused.stderr.contains("config/client.toml: cannot be read: it belongs to another"),
        "{refused:?}"
    );
    give("config");
    let refused = shown().exits(1);
    assert!(refused.stderr.contains("config belongs to another user (uid 65534)"), "{refused:?}");
    Ran::of(project.command().arg("config:show")).exits(0);
}
