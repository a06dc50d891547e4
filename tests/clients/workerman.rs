//! Workerman's clients, which send one line and expect the result of their task as one line.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use crate::harness::client::bounded_tcp;
use crate::harness::server::Server;
use crate::harness::{Project, Ran, installed, project_root};

/// Has PHP clients send these lines at once; their replies in the order of the lines.
fn php(server: &Server, lines: &[Value]) -> Vec<Value> {
    installed();
    let mut command = Command::new("php");
    command.arg(project_root().join("tests/clients/workerman/client.php")).arg(&server.address);
    let ran = Ran::of(command.args(lines.iter().map(Value::to_string))).exits(0);
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn server_for_results(settings: &str) -> Server {
    Server::with_settings(&format!("reply = \"result\"\n{settings}"))
}

#[test]
fn workerman_client_gets_the_bare_result() {
    let server = server_for_results("");
    let mail = json!({"function": "send_mail", "args": {"from": "a@example.com", "to": "b@example.com", "contents": "x"}});
    let echo = |text: &str| json!({"function": "echo", "args": text});
    let answers = php(&server, &[mail, echo("hi"), echo("привет")]);
    assert!(answers[0]["file"].is_string() && answers[0].get("status").is_none(), "{answers:?}");
    assert_eq!(answers[1..], [json!("hi -> OK"), json!("привет -> OK")]);
}

#[test]
fn workerman_error_cannot_be_taken_for_a_result() {
    let server = server_for_results("");
    let wrong = [
        json!({"function": "ehco", "args": "x"}),
        json!({"function": "echo", "args": 7}),
        json!({"function": "send_mail", "args": {"to": "nobody", "contents": "x"}}),
        json!({"function": "echo", "args": "x", "delay": "1h", "expires": "1ms"}),
    ];
    for answer in php(&server, &wrong) {
        assert!(answer["status"].is_string() && answer["error"].is_string(), "{answer}");
    }
}

#[test]
fn workerman_request_with_id_or_reply_gets_the_usual_objects() {
    let server = server_for_results("");
    let mut client = server.connect();
    client.send("{\"function\":\"echo\",\"args\":\"a\",\"id\":1}\n");
    assert_eq!(client.json(), json!({"id": 1, "task_id": 0, "status": "done", "result": "a -> OK"}));
    client.send("{\"function\":\"echo\",\"args\":\"b\",\"reply\":\"result\"}\n");
    assert_eq!(client.json(), json!({"task_id": 1, "status": "done", "result": "b -> OK"}));
    client.send("{\"function\":\"echo\",\"args\":\"c\"}\n");
    assert_eq!(client.line(), "\"c -> OK\"\n");
    client.send("{\"function\":\"echo\",\"args\":\"c\",\"reply\":\"ack\"}\n");
    assert_eq!(client.json()["status"], "queued");
}

#[test]
fn workerman_requests_with_one_key_get_one_result() {
    let server = server_for_results("");
    let request = json!({"function": "echo", "args": "once", "key": "k"});
    let answers = php(&server, &[request.clone(), request.clone()]);
    assert_eq!(answers, [json!("once -> OK"), json!("once -> OK")]);
    assert_eq!(php(&server, &[request]), [json!("once -> OK")]);
    assert_eq!(server.status()["ledger"]["accepted"], 1);
}

#[test]
fn workerman_clients_wait_for_slow_mails_in_parallel() {
    const COUNT: usize = 100;
    let port = slow_mail_server(COUNT);
    let project = Project::new();
    project.write(
        "config/mail.toml",
        &format!(
            "transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\npool_size = {COUNT}\n"
        ),
    );
    let settings = format!("reply = \"result\"\ntask_worker_num = {COUNT}\napp_log = false\n");
    project.write("config/server.toml", &settings);
    let server = Server::with(project, "");
    let mail = |number: usize| {
        let args =
            json!({"from": "a@example.com", "to": format!("user{number}@example.com"), "contents": "x"});
        json!({"function": "send_mail", "args": args})
    };
    let mails: Vec<_> = (0..COUNT).map(mail).collect();
    for answer in php(&server, &mails) {
        assert_eq!(answer["answer"], "250 taken", "{answer}");
    }
    assert_eq!(server.status()["ledger"]["done"], COUNT);
}

/// A mail server that accepts no mail before this many are being sent.
fn slow_mail_server(count: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let all = Arc::new(Barrier::new(count));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let all = all.clone();
            std::thread::spawn(move || take_mail(&bounded_tcp(stream.unwrap()), &all));
        }
    });
    port
}

fn take_mail(stream: &TcpStream, all: &Barrier) {
    let reply = |text: &str| {
        // The client may be gone.
        let _ = (&*stream).write_all(text.as_bytes());
    };
    let mut is_letter = false;
    reply("220 here\r\n");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        match line.as_str() {
            "." if is_letter => {
                all.wait();
                is_letter = false;
                reply("250 taken\r\n");
            }
            _ if is_letter => {}
            "DATA" => {
                is_letter = true;
                reply("354 go on\r\n");
            }
            _ => reply("250 fine\r\n"),
        }
    }
}
