//! Fire and forget: `task:send --no-wait`, and clients that send and close at once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpSocket;

use crate::harness::certificates::Authority;
use crate::harness::client::accept;
use crate::harness::eventually::bounded;
use crate::harness::lines::Lines;
use crate::harness::mail::SilentMailServer;
use crate::harness::process::{kill, wait};
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

const HELLO: &[&str] = &["task:send", "--no-wait", "--raw", "hello"];

/// Enough on a busy machine.
const TIMEOUT: [&str; 2] = ["--connect-timeout", "60s"];

/// `task:send --no-wait` to this address, with further arguments.
fn command(project: &Project, address: &str, arguments: &[&str]) -> Command {
    let mut command = project.command();
    command.args(["task:send", "--no-wait", "--address", address]).args(arguments);
    command
}

fn send(server: &Server, arguments: &[&str]) -> Ran {
    Ran::of(command(&server.project, &server.address, arguments).args(TIMEOUT))
}

fn accepted(server: &Server) -> u64 {
    server.status()["ledger"]["accepted"].as_u64().unwrap()
}

#[test]
fn no_wait_accepts_every_form_of_a_request() {
    let mut server = Server::with_settings("default_function = \"send_mail\"\n");
    let mail = r#"{"from_email":"a@example.com","to_email":"b@example.com","title":"Hi","content":"Hello"}"#;
    for arguments in [
        &[mail][..],
        &["echo", "\"a\""],
        &["send_mail", "--to", "a@example.com", "--title", "Hi", "--content", "Hello"],
        &["send_mail", mail, "--priority", "9", "--key", "k"],
    ] {
        let ran = send(&server, arguments).exits(0);
        assert_eq!(ran.stderr, format!("Sent to {}, not acknowledged.\n", server.address));
        assert_eq!(ran.stdout, "");
        server.line_with("] Finish: ");
    }
    let ledger = &server.status()["ledger"];
    assert_eq!((&ledger["accepted"], &ledger["done"]), (&4.into(), &4.into()));
}

#[test]
fn no_wait_sends_text_without_a_line_end() {
    let mut server = Server::start();
    send(&server, &["--raw", "hello"]).exits(0);
    server.line_with("AsyncTask[0] Finish: hello -> OK");
    let ran = send(&server, &[""]).exits(2);
    assert!(ran.stderr.contains("the message is empty"), "{ran:?}");
    let ran = send(&server, &["--raw", "hello", "--key", "k"]).exits(2);
    assert!(ran.stderr.contains("name the function"), "{ran:?}");
    send(&server, &["--raw", "hello", "--wait"]).exits(2);
    assert_eq!(accepted(&server), 1);
}

#[test]
fn no_wait_json_has_no_task_id() {
    let server = Server::start();
    let ran = send(&server, &["echo", "\"a\"", "--json"]).exits(0);
    let told: serde_json::Value = ran.json();
    let expected = serde_json::json!({ "status": "sent", "address": server.address, "closed": true });
    assert_eq!(told, expected);
}

#[test]
fn no_wait_reports_a_rejection_before_the_close() {
    let server = Server::start();
    let ran = send(&server, &["ehco", "\"a\""]).exits(5);
    assert!(ran.stderr.contains("Did you mean \"echo\"?"), "{ran:?}");
    assert_eq!(accepted(&server), 0);
}

#[test]
fn no_wait_does_not_wait_for_the_end_of_the_task() {
    let mail_server = SilentMailServer::start();
    let project = Project::new();
    mail_server.configure(&project);
    let server = Server::with(project, "");
    let mail = r#"{"to":"ada@example.com","title":"Hi","content":""}"#;
    let ran = send(&server, &["send_mail", mail, "--timeout", "1h"]).exits(0);
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    let _connection = mail_server.accept();
    assert_eq!(server.status()["ledger"]["running"], 1);
}

#[test]
fn no_wait_tasks_survive_a_kill_of_the_server() {
    let server = Server::start();
    send(&server, &["echo", "\"a\"", "--delay", "1h"]).exits(0);
    server.signal(Signal::KILL);
    assert_eq!(server.again("").status()["ledger"]["waiting"], 1);
}

#[test]
fn no_wait_clients_that_are_killed_lose_no_task() {
    const CALLERS: usize = 8;
    let server = Server::with_settings("app_log = false\n");
    let send = |number: usize| {
        let mut command = command(&server.project, &server.address, &["echo", "\"a\""]);
        let mut client = command.args(TIMEOUT).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let line = Lines::of(client.stderr.take().unwrap()).line();
        assert!(line.starts_with("Sent to"), "{line}");
        if number % 2 == 1 {
            kill(&mut client);
        } else {
            wait(&mut client);
        }
    };
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || (caller..1_000).step_by(CALLERS).for_each(send));
        }
    });
    assert_eq!(accepted(&server), 1_000);
}

#[test]
fn clients_that_close_without_reading_the_reply_lose_no_task() {
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

#[tokio::test]
async fn no_wait_client_of_many_lines_stays_while_replies_arrive() {
    const LINES: u64 = 20_000;
    let server = Server::with_settings("app_log = false\n");
    let settings = framework::client::ClientSettings::for_address(&server.address).unwrap();
    let client = framework::client::Client::new(settings).unwrap();
    let lines = "a line\n".repeat(LINES as usize - 1) + "the last one";
    client.send_raw_no_wait(lines.as_bytes()).await.unwrap();
    assert_eq!(accepted(&server), LINES);
}

#[test]
fn no_wait_warns_when_the_server_does_not_close() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let ran =
        Ran::of(&mut command(&Project::new(), &address, &["--raw", "hello", "--connect-timeout", "200ms"]))
            .exits(0);
    assert!(ran.stderr.contains("did not close") && ran.stderr.contains("not acknowledged"), "{ran:?}");
    let mut received = String::new();
    accept(&mute).read_to_string(&mut received).unwrap();
    assert_eq!(received, "hello", "it was sent all the same");
}

#[test]
fn no_wait_gives_up_on_a_server_that_reads_nothing() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let project = Project::new();
    let mut command = command(&project, &address, &["--raw", "-"]);
    command.env("THINK_CLIENT_REPLY_TIMEOUT", "100ms").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut client = command.spawn().unwrap();
    // More than any buffers of the system hold.
    let mut input = client.stdin.take().unwrap();
    bounded("the client reads its input", move || input.write_all(&vec![b'a'; 64 << 20]).unwrap());
    let ran = Ran::finish(client).exits(1);
    assert!(ran.stderr.contains("reply_timeout"), "{ran:?}");
}

#[test]
fn no_wait_works_over_tls_with_tokens_or_explains_the_rejection() {
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
        let mut command = command(&server.project, &server.address, &["echo", "\"a\""]);
        run(command.args(TIMEOUT), tls, token)
    };
    let ran = send("true", SECRET).exits(0);
    assert!(ran.stderr.starts_with("Sent to"), "{ran:?}");
    for (ran, told) in [
        (send("true", ""), "token"),
        (send("true", "hocus pocus"), "token"),
        (send("false", SECRET), "TLS"),
        (send("false", ""), "TLS"),
    ] {
        let ran = ran.exits(5);
        assert!(ran.stderr.contains(told) && !ran.stderr.contains("Sent to"), "{told}: {ran:?}");
    }
    let ran = server.project.think("task:status --json").exits(0);
    let status: serde_json::Value = ran.json();
    assert_eq!(status["ledger"]["accepted"], 1);
    run(server.project.command().arg("task:stop"), "true", "").exits(0);
}

/// A listener that accepts nothing and whose backlog is full, so that connecting to it never ends; and what
/// fills it.
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
    assert!(callers.len() < 100, "a backlog of 0 has no bound");
    (listener, callers)
}

#[test]
fn unreachable_server_is_exit_code_3() {
    let (listener, _callers) = full();
    let full = listener.local_addr().unwrap().to_string();
    // A port that was free a moment ago.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let project = Project::new();
    for (address, told) in [
        (&*nobody, "no server is running on"),
        (&full, "no connection within 100ms (connect_timeout)"),
        ("255.255.255.255:9501", "Network is unreachable"),
        ("unix:/no/such/socket", "no server is running on unix:/no/such/socket"),
    ] {
        for command in [HELLO, &["task:send", "--raw", "hello"], &["task:status"], &["queue:pause", "mail"]] {
            let mut command = Vec::from(command);
            command.extend(["--connect-timeout", "100ms", "--address", address]);
            let ran = Ran::of(project.command().args(command)).exits(3);
            assert!(ran.stderr.contains(told) && ran.stderr.contains(address), "{ran:?}");
            assert_eq!(ran.stdout, "");
        }
    }
}

#[test]
fn connect_timeout_rejects_zero_and_more_than_a_year() {
    for (wrong, told) in [
        ("soon", "such as 500ms"),
        ("-1", "-1"),
        ("0", "more than 0"),
        ("2years", "at most a year"),
        ("", ""),
    ] {
        let ran = Ran::of(Project::new().command().args(HELLO).args(["--connect-timeout", wrong])).exits(2);
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
}
