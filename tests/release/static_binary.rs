//! The static binary on a machine that has nothing.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::bare::Machine;
use super::{MOST, binary, made};
use crate::harness::Ran;
use crate::harness::client::Client;

const NOBODY: u32 = 54321;

#[test]
#[ignore = "builds for many minutes: cargo test --test main release:: -- --ignored"]
fn static_binary_is_small_and_its_archive_holds_it_with_the_settings() {
    let size = fs::metadata(binary()).unwrap().len();
    assert!(size <= MOST, "{size} bytes");
    let list = Ran::of(Command::new("tar").arg("--list").arg("--file").arg(made(".tar.gz"))).exits(0).stdout;
    for file in ["/think\n", "/config/server.toml\n", "/config/schedule.toml\n"] {
        assert!(list.contains(file), "{file} is not in {list}");
    }
}

#[test]
#[ignore = "builds for many minutes: cargo test --test main release:: -- --ignored"]
fn static_binary_runs_without_settings_home_user_name_and_a_writable_root() {
    let machine = Machine::with(&binary());
    let variables = [("THINK_RUNTIME_DIR", "/data"), ("THINK_SERVER_PORT", "0")];
    let guest = machine.start(NOBODY, "ro", &variables, &["task:start"]);
    let mut client = Client::connect(&guest.address());
    client.send("{\"function\":\"echo\",\"args\":\"hi\",\"reply\":\"result\"}\n");
    assert_eq!(client.json()["result"], "hi -> OK");
    assert_eq!(guest.terminate(), Some(0));
    assert_eq!(fs::read_dir(machine.path("")).unwrap().count(), 3, "it has written nothing beside itself");
}

#[test]
#[ignore = "builds for many minutes: cargo test --test main release:: -- --ignored"]
fn static_binary_reads_the_settings_beside_it_and_writes_beside_them() {
    let machine = Machine::with(&binary());
    fs::create_dir(machine.path("config")).unwrap();
    fs::write(machine.path("config/server.toml"), "port = 0\ndefault_function = \"echo\"\n").unwrap();
    let schedule = "[tick]\nfunction = \"echo\"\nargs = \"tick\"\ncron = \"* * * * * *\"\ntimezone = \"Asia/Shanghai\"\n";
    fs::write(machine.path("config/schedule.toml"), schedule).unwrap();
    let guest = machine.start(0, "rw", &[], &["task:start", "-v"]);
    let mut client = Client::connect(&guest.address());
    client.send("hello\n");
    assert!(client.line().starts_with("Message from Server: hello, task_id: "));
    guest.lines.line_with("schedule tick: task ");
    assert_eq!(client.send("{\"command\":\"status\",\"id\":1}\n").json()["id"], json!(1));
    assert_eq!(guest.terminate(), Some(0));
    assert!(machine.path("runtime/queue.db").exists());
}
