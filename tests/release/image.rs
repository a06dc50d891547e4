//! The Dockerfile: its file tree with its variables, user and commands, run without an engine.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::bare::Machine;
use super::binary;
use crate::harness::client::Client;
use crate::harness::eventually::wait_until;
use crate::harness::process::install;
use crate::harness::{Ran, project_root};

/// What stands behind an instruction of the last stage, each time.
fn instructions(word: &str) -> Vec<String> {
    let text = fs::read_to_string(project_root().join("Dockerfile")).unwrap();
    let (_, last) = text.rsplit_once("\nFROM scratch\n").unwrap();
    last.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ').map(str::to_owned)).collect()
}

/// A list of words in JSON.
fn words(instruction: &str) -> Vec<String> {
    serde_json::from_str(&instruction[instruction.find('[').unwrap()..]).unwrap()
}

#[test]
#[ignore = "builds for many minutes: cargo test --test main release:: -- --ignored"]
fn image_runs_as_its_file_says_and_is_found_healthy() {
    let copied: Vec<_> =
        instructions("COPY").iter().map(|copy| copy.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(copied, ["/think", "/config", "/data"], "what this test makes");
    let machine = Machine::with(&binary());
    fs::create_dir(machine.path("config")).unwrap();
    for entry in fs::read_dir(project_root().join("config")).unwrap() {
        let path = entry.unwrap().path();
        install(&path, &machine.path("config").join(path.file_name().unwrap()));
    }
    let (user, _) = instructions("USER")[0]
        .split_once(':')
        .map(|(user, group)| (user.to_owned(), group.to_owned()))
        .unwrap();
    let user: u32 = user.parse().unwrap();
    assert_ne!(user, 0);
    let entry = words(&instructions("ENTRYPOINT")[0]);
    assert_eq!(entry, ["/think"]);
    let variables = instructions("ENV");
    let mut variables: Vec<_> = variables.iter().map(|variable| variable.split_once('=').unwrap()).collect();
    variables.push(("THINK_SERVER_PORT", "0"));
    let command = words(&instructions("CMD")[0]);
    let command: Vec<_> = command.iter().map(String::as_str).collect();

    // Reached from elsewhere, it wants to know whom to let in.
    let refused = machine.start(user, "ro", &variables, &command);
    refused.lines.line_with("token");
    drop(refused);

    variables.push(("THINK_SERVER_TOKENS", "0123456789abcdef0123456789:send+inspect"));
    let guest = machine.start(user, "ro", &variables, &command);
    let address = guest.address().replace("0.0.0.0", "127.0.0.1");
    let mut client = Client::connect(&address);
    client.send(
        "auth 0123456789abcdef0123456789\n{\"function\":\"echo\",\"args\":\"hi\",\"reply\":\"result\"}\n",
    );
    wait_until("the task ends", || client.line().contains("hi -> OK"));

    let check = words(&instructions("HEALTHCHECK")[0]);
    let healthy = || {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &guest.pid().to_string(), "--mount", "--pid", "--root", "--wd"]);
        enter.args(["--setuid", &user.to_string(), "--setgid", &user.to_string()]).args(&check).env_clear();
        Ran::of(enter.envs(variables.iter().copied())).code
    };
    assert_eq!(healthy(), Some(0));
    let signal = instructions("STOPSIGNAL");
    assert_eq!(signal, ["SIGTERM"], "the one that is sent now: {:?}", Signal::TERM);
    assert_eq!(guest.terminate(), Some(0));
}
