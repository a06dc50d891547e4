//! The list of connections: the command `connections`, `GET /connections`, task:connections, and open files.

mod clients;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tungstenite::Message;

use self::clients::{Asks, Encrypted, Frames, Http, Lines, Web};
use crate::harness::certificates::Authority;
use crate::harness::client::Client;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::lines::Lines as Output;
use crate::harness::mail::SilentMailServer;
use crate::harness::process::{kill, wait};
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

/// A client that lists the connections.
struct Lister(Client);

impl Lister {
    fn new(server: &Server) -> Self {
        Self(server.connect())
    }

    fn ask(&mut self, fields: &str) -> Value {
        self.0.send(format!("{{\"command\":\"connections\"{fields}}}\n")).json()
    }

    fn all(&mut self) -> Vec<Value> {
        self.ask(",\"limit\":1000")["result"].as_array().unwrap().clone()
    }

    /// Lists until the connection from this address is as it should be.
    #[track_caller]
    fn until(&mut self, peer: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{peer} is listed as it should be"), || {
            let listed = self.all().into_iter().find(|connection| connection["peer"] == peer);
            listed.filter(&is_it)
        })
    }
}

/// A server with a certificate that this authority has signed.
fn with_certificate(authority: &Authority) -> Server {
    let project = Project::new();
    authority.issue("localhost").write(&project, "server");
    project.write("config/server.toml", "ssl_cert_file = \"server.crt\"\nssl_key_file = \"server.key\"\n");
    Server::with(project, "")
}

#[test]
fn connections_report_protocol_and_exact_bytes() {
    let authority = Authority::new();
    let server = with_certificate(&authority);
    let mut lister = Lister::new(&server);
    let lines = Lines::connect(&server);
    let address = lines.address();
    let (frames, http, web) = (Frames::connect(&server), Http::connect(&server), Web::connect(&server));
    let encrypted = Encrypted::connect(&server, &authority);
    let local = Lines::connect_locally(&server);
    let clients: [(Box<dyn Asks>, String, &str, bool); 6] = [
        (Box::new(lines), address, "lines", false),
        (Box::new(frames.0), frames.1, "frames", false),
        (Box::new(http.0), http.1, "http", false),
        (Box::new(web.0), web.1, "websocket", false),
        (Box::new(encrypted.0), encrypted.1, "lines", true),
        (Box::new(local), format!("unix (process {})", std::process::id()), "lines", false),
    ];
    for (mut client, peer, protocol, tls) in clients {
        for times in 1..=3 {
            client.ask();
            let (sent, received) = client.counts();
            assert!(sent > times * 15 && received > times * 15, "{sent} {received}");
            let seen = lister.until(&peer, |seen| seen["bytes_in"] == sent && seen["bytes_out"] == received);
            assert_eq!((&seen["protocol"], &seen["tls"]), (&json!(protocol), &json!(tls)), "{seen}");
            assert_eq!((&seen["queued"], &seen["in_flight"]), (&json!(0), &json!(0)), "{seen}");
            let (idle, connected) =
                (seen["idle_ms"].as_u64().unwrap(), seen["connected_ms"].as_u64().unwrap());
            assert!(idle <= connected, "{seen}");
        }
    }
}

#[test]
fn connections_report_silent_clients_as_idle() {
    let server = Server::start();
    let mut lister = Lister::new(&server);
    let mut silent = Lines::connect(&server);
    let told = lister.until(&silent.address(), |_| true);
    let expected = json!({"protocol": null, "tls": false, "bytes_in": 0, "bytes_out": 0});
    assert!(expected.as_object().unwrap().iter().all(|(name, value)| told[name] == *value), "{told}");
    assert_eq!(told["connection_id"], 2);
    lister.until(&silent.address(), |seen| seen["idle_ms"].as_u64() > Some(50));
    // The lister itself is not idle.
    let own = lister.all()[0].clone();
    assert_eq!(own["connection_id"], 1);
    assert!(own["idle_ms"].as_u64() < own["connected_ms"].as_u64(), "{own}");
    // The first byte may be one of a method; the second is not, and no line is complete yet.
    silent.0.write_all(b"P").unwrap();
    let told = lister.until(&silent.address(), |seen| seen["bytes_in"] == 1);
    assert_eq!(told["protocol"], Value::Null);
    silent.0.write_all(b"{").unwrap();
    lister.until(&silent.address(), |seen| seen["bytes_in"] == 2 && seen["protocol"] == "lines");
}

#[test]
fn connections_omit_closed_clients() {
    let server = Server::start();
    let mut lister = Lister::new(&server);
    for _ in 0..3 {
        let mut lines = Lines::connect(&server);
        lines.ask();
        let (web, from) = Web::connect(&server);
        lister.until(&lines.address(), |_| true);
        lister.until(&from, |_| true);
        drop((lines, web));
        wait_until("closed connections are not listed", || lister.all().len() == 1);
    }
    assert_eq!(lister.all()[0]["connection_id"], 1, "the lister itself has stayed");
}

#[test]
fn connections_count_awaited_tasks_as_in_flight() {
    let mail_server = SilentMailServer::start();
    let project = Project::new();
    mail_server.configure(&project);
    let server = Server::with(project, "");
    let mut lister = Lister::new(&server);
    let mut sender = Lines::connect(&server);
    let args = json!({"to": "a@example.com", "content": "x"});
    let mail = json!({"function": "send_mail", "reply": "result", "attempts": 1, "args": args});
    sender.0.write_all(format!("{mail}\n").as_bytes()).unwrap();
    // The task runs for as long as its mail server does not greet.
    let mut greeting = mail_server.accept();
    let mut watcher = Lines::connect(&server);
    watcher.0.write_all(b"{\"command\":\"watch\",\"task\":0}\n{\"command\":\"watch\",\"task\":0}\n").unwrap();
    let (mut http, http_address) = Http::connect(&server);
    http.begin("POST", "/tasks/echo?delay=1h&wait=5m", "\"x\"");
    for (peer, count) in [(sender.address(), 1), (watcher.address(), 2), (http_address.clone(), 1)] {
        lister.until(&peer, |seen| seen["in_flight"] == count);
    }
    greeting.write_all(b"554 no mail today\r\n").unwrap();
    drop((greeting, mail_server));
    for peer in [sender.address(), watcher.address()] {
        lister.until(&peer, |seen| seen["in_flight"] == 0);
    }
    lister.until(&http_address, |seen| seen["in_flight"] == 1);
    lister.0.send("{\"command\":\"cancel\",\"task\":1}\n").json();
    http.answer();
    lister.until(&http_address, |seen| seen["in_flight"] == 0);
}

/// Asks for help, of which each reply takes `length` bytes, until not all replies fit into the sockets;
/// returns the number of all bytes. None of them is lost: what was not sent is queued.
fn overfill(lister: &mut Lister, peer: &str, length: usize, mut ask: impl FnMut()) -> u64 {
    let total = |seen: &Value| seen["queued"].as_u64().unwrap() + seen["bytes_out"].as_u64().unwrap();
    let mut expected = total(&lister.until(peer, |_| true));
    eventually("the sockets are full", || {
        (0..400).for_each(|_| ask());
        expected += 400 * length as u64;
        let seen = lister.until(peer, |seen| total(seen) == expected);
        // Before that, it may only not be sent yet.
        (seen["queued"] != 0 && expected > 1 << 20).then_some(expected)
    })
}

#[test]
fn connections_count_unread_bytes_as_queued() {
    let server = Server::start();
    let mut lister = Lister::new(&server);
    let mut lines = Lines::connect(&server);
    let peer = lines.address();
    let length = server.connect().send("?\n").end().rest().len();
    let sent = overfill(&mut lister, &peer, length, || lines.0.write_all(b"?\n").unwrap());
    lines.0.read_exact(&mut vec![0; sent as usize]).unwrap();
    lister.until(&peer, |seen| seen["queued"] == 0 && seen["bytes_out"] == sent);
}

#[test]
fn connections_count_unread_websocket_bytes_as_queued() {
    let project = Project::new();
    // Pings would count, too.
    project.write("config/server.toml", "websocket_ping_interval = \"0s\"\n");
    let server = Server::with(project, "");
    let mut lister = Lister::new(&server);
    let (mut web, peer) = Web::connect(&server);
    // The answer to its handshake may be here before it is counted there.
    let begun = web.counts().1;
    lister.until(&peer, |seen| seen["bytes_out"] == begun);
    // The head of a message of this length has four bytes, before and after it is made one of the WebSocket.
    let length = 4 + server.connect().send("?\n").end().rest().trim_end().len();
    let sent = overfill(&mut lister, &peer, length, || web.0.send(Message::text("?")).unwrap());
    while web.counts().1 < sent {
        web.0.read().unwrap();
    }
    lister.until(&peer, |seen| seen["queued"] == 0 && seen["bytes_out"] == sent);
}

#[test]
fn connections_are_listed_in_pages() {
    let server = Server::start();
    let mut lister = Lister::new(&server);
    let idle: Vec<_> = (0..1_000).map(|_| Lines::connect(&server)).collect();
    lister.until(&idle[998].address(), |_| true);
    wait_until("the last connection is listed", || {
        lister.ask(",\"after\":1000")["result"][0]["peer"] == idle[999].address()
    });
    assert_eq!(lister.ask("")["result"].as_array().unwrap().len(), 20);
    let mut ids: Vec<u64> = Vec::new();
    for _ in 0..5 {
        let after = ids.last().copied().unwrap_or_default();
        let answer = lister.ask(&format!(",\"after\":{after},\"limit\":300"));
        let page = answer["result"].as_array().unwrap();
        ids.extend(page.iter().map(|connection| connection["connection_id"].as_u64().unwrap()));
        if page.len() < 300 {
            break;
        }
    }
    assert_eq!(ids, (1..=1_001).collect::<Vec<_>>());
    assert_eq!(lister.ask(",\"after\":18446744073709551615")["result"], json!([]));
    let ran = server.think(&["task:connections", "--limit", "5000", "--json"]).exits(0);
    let listed: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(listed.len(), 1_002, "with its own");
    let ran = server.think(&["task:connections", "--after", "5", "--limit", "2"]).exits(0);
    assert_eq!(ran.stdout.lines().count(), 3, "{}", ran.stdout);
    assert!(ran.stderr.contains("for the next page: --after 7"), "{}", ran.stderr);
}

#[test]
fn connections_command_rejects_invalid_fields() {
    let server = Server::start();
    let mut lister = Lister::new(&server);
    for (fields, says) in [
        (",\"limt\":1", "has no field \"limt\""),
        (",\"limit\":0", "from 1 to 1000"),
        (",\"limit\":1001", "from 1 to 1000"),
        (",\"after\":\"x\"", "\"after\" must be the number of a connection"),
        (",\"after\":-1", "\"after\" must be the number of a connection"),
    ] {
        let answer = lister.ask(fields);
        assert_eq!(answer["code"], "bad_request", "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(says), "{answer}");
    }
    assert_eq!(lister.ask(",\"limt\":1")["suggestion"], "limit");
    let answer = lister.0.send("{\"command\":\"conections\"}\n").json();
    assert_eq!(answer["suggestion"], "connections");
    let (mut http, _) = Http::connect(&server);
    for path in ["/connections?limt=1", "/connections?limit=0", "/connections?after=x"] {
        http.begin("GET", path, "");
        assert!(http.answer().0.starts_with("http/1.1 400"), "{path}");
    }
}

#[test]
fn connections_require_the_inspect_scope() {
    let project = Project::new();
    let variable = [("THINK_SERVER_TOKENS", "sender-0123456789:send, reader-0123456789:inspect")];
    project.write("config/server.toml", "");
    let server = Server::with_environment(project, "", &variable);
    let ask = |token: &str| {
        let mut lister = Lister::new(&server);
        lister.0.send(format!("auth {token}\n")).json();
        lister.ask("")
    };
    assert_eq!(ask("sender-0123456789")["code"], "forbidden");
    let seen = ask("reader-0123456789");
    assert_eq!(seen["result"][0]["protocol"], "lines", "{seen}");
    let think = |token: &str| {
        let mut command = server.project.command();
        Ran::of(
            command.args(["task:connections", "--address", &server.address]).env("THINK_CLIENT_TOKEN", token),
        )
    };
    think("reader-0123456789").exits(0);
    think("sender-0123456789").exits(5);
    let (mut http, _) = Http::connect(&server);
    http.begin("GET", "/connections", "");
    assert!(http.answer().0.starts_with("http/1.1 401"));
}

#[test]
fn connections_are_shown_by_command_and_http() {
    let mut server = Server::start();
    let (mut http, address) = Http::connect(&server);
    http.begin("GET", "/connections?limit=1", "");
    let told: Value = serde_json::from_str(&http.answer().1).unwrap();
    assert_eq!((&told[0]["peer"], &told[0]["protocol"]), (&json!(address), &json!("http")), "{told}");
    let shown = server.think(&["task:connections"]).exits(0).stdout;
    let rows: Vec<_> = shown.lines().collect();
    assert!(rows[0].starts_with("id") && rows[0].contains("in flight"), "{shown}");
    assert!(rows[1].contains(&address) && rows[1].contains("http"), "{shown}");
    assert!(rows[2].contains("lines"), "its own: {shown}");
    let shown = server.think(&["task:connections", "--after", "1000"]).exits(0);
    assert_eq!((&*shown.stdout, shown.stderr.contains("No connections.")), ("", true), "{}", shown.stderr);
    server.think(&["task:connections", "--limit", "0"]).exits(2);
    server.signal(rustix::process::Signal::INT);
    server.exit_code();
    server.think(&["task:connections"]).exits(3);
}

#[test]
fn connections_watch_repeats_until_stdout_closes() {
    let server = Server::start();
    let mut command = server.project.command();
    command.args(["task:connections", "--watch", "--json", "--every", "50ms", "--address", &server.address]);
    let mut watch = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = Output::of(watch.stdout.take().unwrap());
    let count = |line: &str| serde_json::from_str::<Vec<Value>>(line).unwrap().len();
    assert_eq!(count(&output.line()), 1);
    let silent = Lines::connect(&server);
    output.find("two connections", |line| count(line) == 2);
    drop((output, silent));
    assert!(wait(&mut watch).success());
}

#[test]
fn status_reports_open_files_and_their_limit() {
    let server = Server::start();
    let used = || server.status()["open_files"]["used"].as_u64().unwrap();
    let before = used();
    assert!(before > 5, "{before}");
    let mut clients: Vec<_> = (0..50).map(|_| Lines::connect(&server)).collect();
    clients.iter_mut().for_each(Asks::ask);
    let (after, limit) = (used(), server.status()["open_files"]["limit"].as_u64().unwrap());
    assert!(after >= before + 49 && after <= limit, "{before} {after} {limit}");
    let shown = server.think(&["task:status"]).exits(0).stdout;
    assert!(shown.lines().any(|line| line.starts_with("open files") && line.contains(" of ")), "{shown}");
}

#[test]
fn start_warns_when_the_file_limit_is_too_low() {
    let started = |max_connection: u32| {
        let project = Project::new();
        project.write("config/server.toml", &format!("max_connection = {max_connection}\n"));
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 256 && exec \"$0\" task:start --port 0 --foreground"]);
        command.arg(project.command().get_program()).env("THINK_ROOT", project.path(""));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let output = Output::of(child.stderr.take().unwrap());
        let lines = std::iter::repeat_with(|| output.line());
        let printed: Vec<_> = lines.take_while(|line| !line.contains("listens on")).collect();
        let status = project.think("task:status --address unix:runtime/server.sock --json").exits(0).stdout;
        kill(&mut child);
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["open_files"]["limit"], 256);
        printed.into_iter().find(|line| line.contains("max_connection"))
    };
    let said = started(1_000).unwrap();
    for part in ["256 files", "max_connection = 1000 needs 1100", "ulimit -n 1100", "LimitNOFILE=1100"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(started(156), None);
}
