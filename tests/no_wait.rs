//! Fire and forget: `task:send --no-wait`, and clients that send and close at once.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpSocket;

use crate::harness::certificates::Authority;
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

const HELLO: &[&str] = &["task:send", "--no-wait", "hello"];

/// As long as it takes on a machine that is busy.
const PATIENCE: [&str; 2] = ["--connect-timeout", "60s"];

/// `task:send --no-wait` to this address, with further arguments.
fn handing_over(project: &Project, address: &str, arguments: &[&str]) -> Command {
    let mut command = project.command();
    command.args(["task:send", "--no-wait", "--address", address]).args(arguments);
    command
}

fn hand_over(server: &Server, arguments: &[&str]) -> Ran {
    Ran::of(handing_over(&server.project, &server.address, arguments).args(PATIENCE))
}

fn accepted(server: &Server) -> u64 {
    server.status()["ledger"]["accepted"].as_u64().unwrap()
}

#[test]
fn every_form_of_a_request_is_handed_over() {
    let project = Project::new();
    project.write("config/server.toml", "default_function = \"send_mail\"\n");
    let mut server = Server::with(project, "");
    let mail = r#"{"from_email":"a@example.com","to_email":"b@example.com","title":"Hi","content":"Hello"}"#;
    for arguments in [
        &[mail][..],
        &["echo", "\"a\""],
        &["send_mail", "--to", "a@example.com", "--title", "Hi", "--content", "Hello"],
        &["send_mail", mail, "--priority", "9", "--key", "k"],
    ] {
        let ran = hand_over(&server, arguments).exits(0);
        assert_eq!(ran.stderr, format!("Handed over to {}, not acknowledged.\n", server.address));
        assert_eq!(ran.stdout, "");
        server.line_with("] Finish: ");
    }
    let ledger = &server.status()["ledger"];
    assert_eq!((&ledger["accepted"], &ledger["done"]), (&4.into(), &4.into()));
}

#[test]
fn text_is_sent_as_it_is_and_without_a_line_end_a_message_all_the_same() {
    let mut server = Server::start();
    hand_over(&server, &["hello"]).exits(0);
    server.line_with("AsyncTask[0] Finish: hello -> OK");
    let ran = hand_over(&server, &[""]).exits(2);
    assert!(ran.stderr.contains("nothing to send"), "{ran:?}");
    let ran = hand_over(&server, &["hello", "--key", "k"]).exits(2);
    assert!(ran.stderr.contains("name the function"), "{ran:?}");
    hand_over(&server, &["hello", "--wait"]).exits(2);
    assert_eq!(accepted(&server), 1);
}

#[test]
fn programs_are_told_in_json_that_there_is_no_id() {
    let server = Server::start();
    let ran = hand_over(&server, &["echo", "\"a\"", "--json"]).exits(0);
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = serde_json::json!({ "status": "handed_over", "address": server.address, "closed": true });
    assert_eq!(told, expected);
}

#[test]
fn what_is_refused_before_the_server_closes_is_told() {
    let server = Server::start();
    let ran = hand_over(&server, &["ehco", "\"a\""]).exits(5);
    assert!(ran.stderr.contains("Did you mean \"echo\"?"), "{ran:?}");
    assert_eq!(accepted(&server), 0);
}

#[test]
fn the_end_of_the_task_is_not_waited_for() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let project = Project::new();
    let port = mute.local_addr().unwrap().port();
    project.write(
        "config/mail.toml",
        &format!("transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nconnect_timeout = \"1h\"\n"),
    );
    let server = Server::with(project, "");
    let mail = r#"{"to":"ada@example.com","title":"Hi","content":""}"#;
    let ran = hand_over(&server, &["send_mail", mail, "--timeout", "1h"]).exits(0);
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    let _running = mute.accept().unwrap();
    assert_eq!(server.status()["ledger"]["running"], 1);
}

#[test]
fn what_was_handed_over_survives_the_end_of_the_server() {
    let server = Server::start();
    hand_over(&server, &["echo", "\"a\"", "--delay", "1h"]).exits(0);
    server.signal(Signal::KILL);
    assert_eq!(server.again("").status()["ledger"]["waiting"], 1);
}

#[test]
fn a_thousand_are_a_thousand_tasks_also_of_clients_that_are_killed_at_once() {
    const CALLERS: usize = 8;
    let project = Project::new();
    project.write("config/server.toml", "app_log = false\n");
    let server = Server::with(project, "");
    let send = |number: usize| {
        let mut command = handing_over(&server.project, &server.address, &["echo", "\"a\""]);
        let mut client = command.args(PATIENCE).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(client.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.starts_with("Handed over"), "{said}");
        if number % 2 == 1 {
            client.kill().unwrap();
        }
        client.wait().unwrap();
    };
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || (caller..1_000).step_by(CALLERS).for_each(send));
        }
    });
    assert_eq!(accepted(&server), 1_000);
}

#[test]
fn a_thousand_that_close_with_their_answer_unread_are_a_thousand_tasks() {
    let mut server = Server::start();
    for number in 0..1_000 {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(format!("{{\"function\":\"echo\",\"args\":\"{number}\"}}").as_bytes()).unwrap();
    }
    for _ in 0..1_000 {
        server.line_with(" Finish: ");
    }
    assert_eq!(accepted(&server), 1_000);
}

#[test]
fn a_client_of_many_lines_stays_as_long_as_it_is_answered() {
    const LINES: u64 = 20_000;
    let project = Project::new();
    project.write("config/server.toml", "app_log = false\n");
    let server = Server::with(project, "");
    let mut command = handing_over(&server.project, &server.address, &["-"]);
    let mut client = command.args(PATIENCE).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = "a line\n".repeat(LINES as usize - 1) + "the last one";
    client.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(0));
    assert_eq!(accepted(&server), LINES);
}

#[test]
fn a_server_that_does_not_close_is_left_with_a_warning() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let ran = Ran::of(&mut handing_over(&Project::new(), &address, &["hello", "--connect-timeout", "200ms"]))
        .exits(0);
    assert!(ran.stderr.contains("has not closed") && ran.stderr.contains("not acknowledged"), "{ran:?}");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut mute.accept().unwrap().0, &mut said).unwrap();
    assert_eq!(said, "hello", "it has left all the same");
}

#[test]
fn a_server_that_takes_nothing_is_not_waited_for_for_ever() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let project = Project::new();
    let mut command = handing_over(&project, &address, &["-"]);
    command.env("THINK_CLIENT_REPLY_TIMEOUT", "100ms").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().unwrap();
    // More than any buffers of the system hold.
    client.stdin.take().unwrap().write_all(&vec![b'a'; 64 << 20]).unwrap();
    let output = client.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.contains("reply_timeout"), "{stderr}");
}

#[test]
fn servers_with_tls_and_tokens_are_served_or_refuse_with_a_sentence() {
    const SECRET: &str = "open-sesame-and-let-me-in";
    let (project, authority) = (Project::new(), Authority::new());
    authority.issue("localhost").write(&project, "server");
    project.write("authority.crt", &authority.pem());
    let pair = "ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\n";
    project.write("config/server.toml", &format!("{pair}ssl_required = true\ntokens = \"{SECRET}:send\"\n"));
    let server = Server::with(project, "");
    let run = |command: &mut Command, tls: &str, token: &str| {
        let variables =
            [("CA_FILE", "authority.crt"), ("SERVER_NAME", "localhost"), ("TLS", tls), ("TOKEN", token)];
        Ran::of(command.envs(variables.map(|(key, value)| (format!("THINK_CLIENT_{key}"), value))))
    };
    let send = |tls: &str, token: &str| {
        let mut command = handing_over(&server.project, &server.address, &["echo", "\"a\""]);
        run(command.args(PATIENCE), tls, token)
    };
    let ran = send("true", SECRET).exits(0);
    assert!(ran.stderr.starts_with("Handed over"), "{ran:?}");
    for (ran, told) in [
        (send("true", ""), "token"),
        (send("true", "hocus pocus"), "token"),
        (send("false", SECRET), "TLS"),
        (send("false", ""), "TLS"),
    ] {
        let ran = ran.exits(5);
        assert!(ran.stderr.contains(told) && !ran.stderr.contains("Handed over"), "{told}: {ran:?}");
    }
    let ran = server.project.think("task:status --json").exits(0);
    let status: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(status["ledger"]["accepted"], 1);
    run(server.project.command().arg("task:stop"), "true", "").exits(0);
}

/// A listener that accepts nobody and has room for nobody else, so that connecting to it never ends; what fills it.
fn full() -> (std::net::TcpListener, Vec<TcpStream>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _inside = runtime.enter();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap().into_std().unwrap();
    let address = listener.local_addr().unwrap();
    let callers =
        std::iter::from_fn(|| TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok());
    let callers: Vec<_> = callers.take(100).collect();
    assert!(callers.len() < 100, "a backlog of 0 takes anybody");
    (listener, callers)
}

#[test]
fn who_cannot_be_reached_is_exit_code_three_however_that_shows() {
    let (listener, _callers) = full();
    let full = listener.local_addr().unwrap().to_string();
    // A port that is free, for nobody listens on it any more.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let project = Project::new();
    for (address, told) in [
        (&*nobody, "no server is running on"),
        (&full, "no connection within 100ms (connect_timeout)"),
        ("255.255.255.255:9501", "Network is unreachable"),
        ("unix:/no/such/socket", "no server is running on unix:/no/such/socket"),
    ] {
        for command in [HELLO, &["task:send", "hello"], &["task:status"], &["queue:pause", "mail"]] {
            let mut command = Vec::from(command);
            command.extend(["--connect-timeout", "100ms", "--address", address]);
            let ran = Ran::of(project.command().args(command)).exits(3);
            assert!(ran.stderr.contains(told) && ran.stderr.contains(address), "{ran:?}");
            assert_eq!(ran.stdout, "");
        }
    }
}

#[test]
fn a_timeout_that_is_none_is_a_mistake_of_the_command_line() {
    for (wrong, told) in [
        ("soon", "such as 500ms"),
        ("-1", "-1"),
        ("0", "more than nothing"),
        ("2years", "at most a year"),
        ("", ""),
    ] {
        let ran = Ran::of(Project::new().command().args(HELLO).args(["--connect-timeout", wrong])).exits(2);
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
}
