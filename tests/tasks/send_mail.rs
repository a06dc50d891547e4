//! The task `send_mail`, with a real mail server.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::{io, thread};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::client::{Client, accept};
use crate::harness::mail::MailServer;
use crate::harness::server::Server;

/// A project whose mails go to this mail server.
fn project(mail_server: &MailServer, more: &str) -> Project {
    project_at(mail_server.port(), more)
}

fn project_at(port: u16, more: &str) -> Project {
    let project = Project::new();
    project.write(
        "config/mail.toml",
        &format!("transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\n{more}\n"),
    );
    project
}

fn mail(to: &str) -> Value {
    json!({"function": "send_mail", "reply": "result",
           "args": {"to": to, "title": format!("For {to}"), "content": "Grüße\n"}})
}

fn ask(client: &mut Client, request: &Value) -> Value {
    client.send(format!("{request}\n")).json()
}

fn ledger(client: &mut Client) -> Value {
    ask(client, &json!({"command": "status"}))["result"]["ledger"].take()
}

#[test]
fn send_mail_delivers_each_of_a_thousand_mails_once() {
    let mail_server = MailServer::start(&[]);
    let project = project(&mail_server, "tls = \"none\"\npool_size = 2");
    let server = Server::with(project, "");
    let mut client = server.connect();
    let recipients: BTreeSet<_> = (0..1_000).map(|number| format!("user{number}@example.com")).collect();
    for to in &recipients {
        client.send(format!("{}\n", mail(to)));
    }
    for to in &recipients {
        let answer = client.json();
        assert_eq!(answer["status"], "done", "{to}: {answer}");
        assert_eq!(answer["result"]["answer"], "250 2.0.0 taken");
    }
    assert_eq!(ledger(&mut client)["done"], 1_000);

    let seen = mail_server.finish();
    assert_eq!(seen.len(), 1_000);
    let distinct = |field: &str| seen.iter().map(|mail| mail[field].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(distinct("to"), recipients.iter().map(|to| json!([to]).to_string()).collect());
    assert_eq!(distinct("message_id").len(), 1_000);
    assert!(distinct("connection").len() <= 2, "{:?}", distinct("connection"));
    for mail in seen {
        assert_eq!(mail["title"], format!("For {}", mail["to"][0].as_str().unwrap()));
        assert_eq!(mail["content"].as_str().unwrap().trim_end(), "Grüße");
    }
}

#[test]
fn send_mail_retries_a_temporary_rejection() {
    let mail_server = MailServer::start(&[]);
    let project = project(&mail_server, "tls = \"none\"");
    let server = Server::with(project, "");
    let answer = ask(&mut server.connect(), &mail("later@example.com"));
    assert_eq!(answer["status"], "done", "{answer}");

    let seen = mail_server.finish();
    assert_eq!(seen[0], json!({"refused": "later@example.com", "code": 451}));
    assert_eq!(seen[1]["to"], json!(["later@example.com"]));
    assert_eq!(seen[1]["message_id"], answer["result"]["message_id"]);
    assert_eq!(seen.len(), 2);
}

#[test]
fn send_mail_does_not_retry_a_permanent_rejection() {
    let mail_server = MailServer::start(&[]);
    let project = project(&mail_server, "tls = \"none\"");
    let server = Server::with(project, "");
    let mut client = server.connect();
    let answer = ask(&mut client, &mail("never@example.com"));
    assert_eq!(answer["status"], "failed", "{answer}");
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("never@example.com") && error.contains("5.1.1 no such user here"), "{error}");
    assert_eq!(ledger(&mut client)["failed"], 1);

    assert_eq!(mail_server.finish(), [json!({"refused": "never@example.com", "code": 550})]);
}

#[test]
fn send_mail_retries_after_a_disconnect() {
    let mail_server = MailServer::start(&[]);
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let project = project_at(front.local_addr().unwrap().port(), "tls = \"none\"");
    let behind = ("127.0.0.1", mail_server.port());
    thread::spawn(move || {
        drop(accept(&front));
        let (client, server) = (accept(&front), TcpStream::connect(behind).unwrap());
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut from_client, &mut to_server));
        io::copy(&mut &server, &mut &client)
    });
    let server = Server::with(project, "");
    let answer = ask(&mut server.connect(), &mail("ada@example.com"));
    assert_eq!(answer["status"], "done", "{answer}");
    assert_eq!(mail_server.finish().len(), 1);
}

#[test]
fn send_mail_rejects_an_invalid_address_before_queueing() {
    let server = Server::start();
    let mut client = server.connect();
    let answer = ask(&mut client, &mail("ada@@example"));
    assert_eq!((&answer["status"], &answer["code"]), (&json!("error"), &json!("bad_arguments")), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("\"ada@@example\" is not a mail address"), "{answer}");
    assert_eq!(ledger(&mut client)["accepted"], 0);
}

#[test]
fn send_mail_names_every_recipient_in_ascii() {
    let mail_server = MailServer::start(&[]);
    let project = project(&mail_server, "tls = \"none\"");
    let server = Server::with(project, "");
    let mut client = server.connect();
    let mut mail = mail("info@b\u{e4}ckerei-m\u{fc}ller.example");
    mail["args"]["cc"] = json!(["bob@example.com"]);
    mail["args"]["bcc"] = json!(["Eve <eve@example.com>"]);
    mail["args"]["content"] = json!("two\rlines");
    assert_eq!(ask(&mut client, &mail)["status"], "done");
    mail["args"]["to"] = json!("j\u{f6}rg@example.com");
    let refused = ask(&mut client, &mail);
    assert_eq!(refused["code"], "bad_arguments", "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("the part before the @ is not ASCII"), "{refused}");

    let seen = mail_server.finish();
    let to = json!(["info@xn--bckerei-mller-bfb28a.example", "bob@example.com", "eve@example.com"]);
    assert_eq!((seen.len(), &seen[0]["to"]), (1, &to));
    assert_eq!(seen[0]["content"].as_str().unwrap().trim_end(), "two\r\nlines");
}

#[test]
fn send_mail_timeout_does_not_mix_up_replies() {
    let mail_server = MailServer::start(&[]);
    let project = project(&mail_server, "tls = \"none\"\npool_size = 1");
    let server = Server::with(project, "");
    let mut client = server.connect();
    let mut silent = mail("silent@example.com");
    silent["timeout"] = json!(0.2);
    silent["attempts"] = json!(1);
    assert_eq!(ask(&mut client, &silent)["status"], "failed");
    assert_eq!(ask(&mut client, &mail("ada@example.com"))["status"], "done");
    assert_eq!(ask(&mut client, &mail("never@example.com"))["status"], "failed");

    let seen = mail_server.finish();
    assert_eq!(seen[0]["to"], json!(["ada@example.com"]));
    assert_eq!(seen[1]["refused"], "never@example.com");
    assert_eq!(seen.len(), 2);
}

#[test]
fn send_mail_reads_the_login_from_file_and_environment() {
    let mail_server = MailServer::start(&["--login", "ada", "secret"]);
    let project = project(&mail_server, "tls = \"none\"\nuser = \"ada\"");
    let server = Server::with_environment(project, "", &[("THINK_MAIL_PASSWORD", "secret")]);
    let answer = ask(&mut server.connect(), &mail("bob@example.com"));
    assert_eq!(answer["status"], "done", "{answer}");
    assert_eq!(mail_server.finish().len(), 1);
}

#[test]
fn send_mail_uses_tls_with_a_trusted_certificate() {
    for tls in ["starttls", "implicit"] {
        let mail_server = MailServer::start(&["--tls", tls]);
        let project = project(&mail_server, &format!("tls = \"{tls}\"\nca_file = \"config/mail.pem\""));
        project.write("config/mail.pem", mail_server.certificate());
        let server = Server::with(project, "");
        let mut client = server.connect();
        for to in ["ada@example.com", "bob@example.com"] {
            let answer = ask(&mut client, &mail(to));
            assert_eq!(answer["status"], "done", "{tls}: {answer}");
        }
        let seen = mail_server.finish();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|mail| mail["encrypted"] == true), "{tls}: {seen:?}");
    }
}

#[test]
fn send_mail_rejects_an_untrusted_certificate() {
    let mail_server = MailServer::start(&["--tls", "starttls"]);
    let project = project(&mail_server, "");
    let server = Server::with(project, "");
    let mut once = mail("ada@example.com");
    once["attempts"] = json!(1);
    let answer = ask(&mut server.connect(), &once);
    assert_eq!(answer["status"], "failed");
    assert!(answer["error"].as_str().unwrap().contains("certificate"), "{answer}");
    assert!(mail_server.finish().is_empty());
}

#[test]
fn send_mail_requires_starttls_by_default() {
    let mail_server = MailServer::start(&[]);
    let project = project(&mail_server, "");
    let server = Server::with(project, "");
    let mut once = mail("ada@example.com");
    once["attempts"] = json!(1);
    let answer = ask(&mut server.connect(), &once);
    assert_eq!(answer["status"], "failed");
    assert!(answer["error"].as_str().unwrap().contains("STARTTLS is not supported"), "{answer}");
    assert!(mail_server.finish().is_empty());
}

#[test]
fn send_mail_without_settings_writes_a_file() {
    let project = Project::new();
    project.write("config/server.toml", "default_function = \"send_mail\"\n");
    let mut server = Server::with(project, "");
    // As a client that closes at once and sends no line end.
    let args = r#"{"from_email":"bob@example.com","to_email":"Ada <ada@example.com>","title":"Hi","content":"Hello"}"#;
    let reply = server.connect().send(args).end().rest();
    assert_eq!(reply, format!("Message from Server: {args}, task_id: 0\n"));
    // A stop leaves what has not begun for the next start: the end has to be there first.
    server.line_with("AsyncTask[0] Finish");
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));

    let files = std::fs::read_dir(server.project.path("runtime/mail")).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert!(file.extension().is_some_and(|extension| extension == "eml"), "{file:?}");
    let text = std::fs::read_to_string(file).unwrap();
    for part in
        ["From: bob@example.com\r\n", "To: Ada <ada@example.com>\r\n", "Subject: Hi\r\n", "\r\n\r\nHello"]
    {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}
