//! Secrets: they never become tasks, cannot be guessed quickly, and their files are looked at.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{ADMIN, NOOP, READER, SENDER, STATUS, authenticated, control, guarded, limit, write_secret};
use crate::harness::Project;
use crate::harness::eventually::wait_until;
use crate::harness::frames::FrameClient;
use crate::harness::server::Server;
use crate::harness::websocket::WebSocketClient;

const WORDS: [&str; 4] =
    ["auth SECRET-0123456789", "AUTH SECRET-0123456789", " auth\tSECRET-0123456789", "Auth x SECRET-0"];

#[test]
fn auth_line_is_never_a_task_where_no_token_is_required() {
    let mut server = Server::start();
    let mut frames = FrameClient::connect(&server);
    let mut websocket = WebSocketClient::connect(&server);
    for words in WORDS {
        let reply = server.connect().send(format!("{words}\n")).line();
        assert!(reply.contains("\"scopes\"") && !reply.contains("SECRET"), "{words}: {reply}");
        assert!(frames.send(words).text().contains("\"scopes\""), "{words}");
        websocket.send(words);
        assert!(websocket.text().contains("\"scopes\""), "{words}");
    }
    let last = server.connect().send("auth SECRET-0123456789").end().rest();
    assert!(last.contains("\"scopes\""), "{last}");
    assert_eq!(control(&server, STATUS)["result"]["ledger"]["accepted"], 0);
    server.signal(rustix::process::Signal::TERM);
    assert!(server.rest().iter().all(|line| !line.contains("SECRET")));
}

#[test]
fn auth_line_after_a_token_exchanges_it_for_another() {
    let server = guarded("");
    let mut client = authenticated(&server, READER);
    assert!(client.send(format!("auth {SENDER}\n")).line().contains("\"send\""));
    assert_eq!(client.send(NOOP).json()["status"], "queued");
    let refused = client.send("auth wrong-0123456789\n").line();
    assert!(refused.contains("unauthorized") && !refused.contains("wrong-"), "{refused}");
    assert_eq!(client.send(NOOP).json()["status"], "queued", "the rights stay as they were");
    assert_eq!(control(&server, STATUS)["result"]["ledger"]["accepted"], 2);
}

#[test]
fn wrong_tokens_of_clients_that_hang_up_are_delayed_all_the_same() {
    let server = guarded("");
    for _ in 0..50 {
        server.connect().send("auth wrong-0123456789\n");
    }
    wait_until("attempts are refused", || limit(&server, "failed_auth").as_u64() >= Some(5));
    let refused = server.connect().send(format!("auth {ADMIN}\n")).line();
    assert!(refused.contains("Too many wrong tokens") && refused.contains("retry_after_ms"), "{refused}");
}

#[test]
fn token_of_two_different_scopes_prevents_the_start() {
    let project = Project::new();
    project.write("config/server.toml", "tokens_file = \"tokens\"\n");
    write_secret(&project, "tokens", &format!("{SENDER} send\n{SENDER} admin\n"));
    let ran = project.think("task:start --port 0").exits(1);
    assert!(ran.stderr.contains("line 2 repeats line 1 with other scopes"), "{ran:?}");
    assert!(!ran.stderr.contains(SENDER), "{ran:?}");
}

#[test]
fn secret_file_that_is_a_pipe_or_open_to_others_prevents_the_start() {
    let project = Project::new();
    let pipe = project.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for settings in [
        "tokens_file = \"pipe\"\n",
        "ssl_cert_file = \"pipe\"\nssl_key_file = \"pipe\"\n",
        "pid_file = \"pipe\"\n",
    ] {
        project.write("config/server.toml", settings);
        let ran = project.think("task:start --port 0").exits(1);
        assert!(ran.stderr.contains("not a regular file"), "{settings}: {ran:?}");
    }
    let authority = crate::harness::certificates::Authority::new();
    authority.issue("localhost").write(&project, "server");
    project.write("config/server.toml", "ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\n");
    fs::set_permissions(project.path("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let ran = project.think("task:start --port 0").exits(1);
    assert!(ran.stderr.contains("ssl_key_file") && ran.stderr.contains("chmod 600"), "{ran:?}");
}
