//! Completion: in a real bash, and as the scripts of the shells ask for it.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::harness::pty::Dialogue;
use crate::harness::{Project, Ran, installed};

/// What could stand in place of the end of a line.
fn candidates(project: &Project, line: &str) -> Vec<String> {
    let mut command = project.command();
    let ran = Ran::of(command.args(["complete", "--shell", "fish", "--line", line])).exits(0);
    ran.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn completion_offers_commands_options_and_values() {
    let project = Project::with_settings("[task_queues]\nmail = 2\nthumbnails = 1\n");
    assert_eq!(candidates(&project, "think task:st"), ["task:start", "task:status", "task:stop"]);
    assert!(candidates(&project, "think -v list --").contains(&"--raw".to_owned()));
    assert_eq!(candidates(&project, "think list --format "), ["txt", "json", "md"]);
    assert_eq!(candidates(&project, "think list --format=j"), ["--format=json"]);
    assert!(candidates(&project, "think task:flush --queue thu").contains(&"thumbnails".to_owned()));
    assert_eq!(candidates(&project, "think task:functions send_m"), ["send_mail"]);
    assert_eq!(candidates(&project, "think help wi"), ["wire"]);
    assert_eq!(candidates(&project, "think --no-a"), ["--no-ansi"]);
    assert_eq!(candidates(&project, "think nothing "), [""; 0]);
    assert!(candidates(&project, "think ").len() > 20);
}

#[test]
fn completion_does_not_wait_for_a_server_that_does_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let project = Project::new();
    let address = silent.local_addr().unwrap();
    let settings = format!("address = \"{address}\"\nreply_timeout = \"1h\"\nconnect_timeout = \"1h\"\n");
    project.write("config/client.toml", &settings);
    assert_eq!(candidates(&project, "think task:send registered --wid"), [""; 0]);
    assert!(candidates(&project, "think task:send echo --wa").contains(&"--wait".to_owned()));
}

#[test]
fn bash_completes_at_the_tabulator_key() {
    let project = Project::new();
    project.write("rc", "PS1='ready> '; PATH=$PWD/bin:$PATH; eval \"$(think completion bash)\"\n");
    link_program(&project);
    let mut bash = project.command_by("bash");
    bash.env("HISTFILE", "").env("INPUTRC", "/dev/null").env("TERM", "xterm");
    let mut dialogue = Dialogue::run_on(120, &bash, &["--noprofile", "--rcfile", "rc", "-i"]);
    dialogue.answer("ready> ", "think demo:he\t");
    dialogue.answer("think demo:hello ", "--ti\t");
    dialogue.answer("--times ", "2 Ada\r");
    dialogue.answer("Hello, Ada!\r\nHello, Ada!", "");
    dialogue.answer("ready> ", "think make:\t\t");
    dialogue.answer("make:", "");
    dialogue.answer("command", "");
    dialogue.answer("service", "\x15exit\r");
    assert_eq!(dialogue.exit_code(), Some(0));
}

/// What a shell shows that completes a command of the program, which runs then.
#[track_caller]
fn greets_by_tabulator(shell: &Command, arguments: &[&str]) {
    let mut dialogue = Dialogue::run_on(120, shell, arguments);
    dialogue.answer("ready> ", "think demo:hel\t");
    // The shell asks the program; what is typed meanwhile waits.
    dialogue.answer("demo:hello", "--ti\t2 Ada\r");
    dialogue.answer("Hello, Ada!", "");
    dialogue.answer("Hello, Ada!", "exit\r");
    assert_eq!(dialogue.exit_code(), Some(0));
}

#[test]
fn zsh_completes_at_the_tabulator_key() {
    installed();
    let project = Project::new();
    let start = "PS1='ready> '; PATH=$PWD/bin:$PATH; autoload -Uz compinit; compinit -u -D\n\
                 eval \"$(think completion zsh)\"\n";
    project.write(".zshrc", start);
    link_program(&project);
    let mut zsh = project.command_by("zsh");
    zsh.env("ZDOTDIR", project.path("")).env("HISTFILE", "").env("TERM", "dumb");
    greets_by_tabulator(&zsh, &["-d", "-i"]);
}

#[test]
fn fish_completes_at_the_tabulator_key() {
    installed();
    let project = Project::new();
    link_program(&project);
    let mut fish = project.command_by("fish");
    for folder in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        fish.env(folder, project.path(""));
    }
    let start = "set PATH $PWD/bin $PATH; think completion fish | source; function fish_prompt; echo -n 'ready> '; end";
    greets_by_tabulator(&fish, &["--private", "-i", "-C", start]);
}

/// Makes the program one that a shell finds by its name.
fn link_program(project: &Project) {
    fs::create_dir(project.path("bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_think"), project.path("bin/think")).unwrap();
}

#[test]
fn completion_is_installed_for_the_user_and_only_said_with_dry_run() {
    let project = Project::new();
    let install = |options: &[&str]| {
        let mut command = project.command();
        command.env("HOME", project.path("")).env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME");
        Ran::of(command.arg("completion").args(options))
    };
    let path = project.path(".local/share/bash-completion/completions/think");
    let ran = install(&["bash", "--install", "--dry-run"]).exits(0);
    assert!(ran.stdout.contains(&format!("{} would be written", path.display())), "{}", ran.stdout);
    assert!(!path.exists());
    install(&["bash", "--install"]).exits(0);
    assert_eq!(fs::read_to_string(&path).unwrap(), install(&["bash"]).exits(0).stdout);
    install(&["fish", "--install"]).exits(0);
    install(&["zsh", "--install"]).exits(0);
    assert!(project.path(".config/fish/completions/think.fish").exists());
    assert!(project.path(".local/share/zsh/site-functions/_think").exists());
    assert!(install(&["powershell", "--install"]).exits(2).stderr.contains("$PROFILE"));
}

#[test]
fn scripts_of_the_shells_are_valid() {
    installed();
    let project = Project::new();
    for (shell, program, options) in
        [("bash", "bash", &["-n"][..]), ("zsh", "zsh", &["-n"]), ("fish", "fish", &["--no-execute"])]
    {
        let script = project.think(&format!("completion {shell}")).exits(0).stdout;
        project.write("script", &script);
        Ran::of(project.command_by(program).args(options).arg("script")).exits(0);
    }
}
