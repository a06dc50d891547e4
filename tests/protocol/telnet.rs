//! A telnet session, and the lines that the six callbacks of the server print for it.

use rustix::process::Signal;

use crate::harness::Project;
use crate::harness::client::Client;
use crate::harness::server::Server;

#[test]
fn telnet_hello_is_answered_and_logged_exactly() {
    let mut server = Server::start();
    let mut telnet = server.connect();
    assert_eq!(telnet.send("hello\r\n").line(), "Message from Server: hello, task_id: 0\n");
    drop(telnet);
    let mut printed: Vec<_> = (0..6).map(|_| server.line()).collect();
    let dispatch = printed.iter().position(|line| line == "Dispatch AsyncTask: id=0").expect("dispatched");
    assert!(dispatch < printed.iter().position(|line| line.contains("Finish")).unwrap(), "{printed:?}");
    printed.remove(dispatch);
    // The client closes while its task may still be on its way.
    printed.sort_by_key(|line| line == "Close");
    let expected = [
        "Connect",
        "message: hello from Client: 1",
        "0, Task Completed",
        "AsyncTask[0] Finish: hello -> OK",
        "Close",
    ];
    assert_eq!(printed, expected);
}

#[test]
fn telnet_writes_are_split_at_line_ends() {
    let server = Server::start();
    let mut client = server.connect();
    client.send("a\nb\r\nc\nhel");
    for (id, text) in ["a", "b", "c"].iter().enumerate() {
        assert_eq!(client.line(), format!("Message from Server: {text}, task_id: {id}\n"));
    }
    assert_eq!(client.send("lo\n").line(), "Message from Server: hello, task_id: 3\n");
}

#[test]
fn telnet_data_without_a_line_end_is_a_message_at_the_close() {
    let mut server = Server::start();
    assert_eq!(server.connect().send("hel").end().rest(), "Message from Server: hel, task_id: 0\n");
    // A client that does not wait for the reply: the task runs all the same.
    server.connect().send("fire and forget");
    server.line_with("AsyncTask[1] Finish: fire and forget -> OK");
}

#[test]
fn default_function_turns_raw_json_into_a_task() {
    let project = Project::new();
    project.write("config/server.toml", "default_function = \"send_mail\"\n");
    let mut server = Server::with(project, "");
    let mail = r#"{"from_email":"a@example.com","to_email":"b@example.com","title":"Hi","content":"Hello"}"#;
    server.connect().send(mail);
    server.line_with("AsyncTask[0] Finish: ");
    let mails = std::fs::read_dir(server.project.path("runtime/mail")).unwrap().count();
    assert_eq!(mails, 1);
}

#[test]
fn connection_and_task_ids_count_up() {
    let mut server = Server::start();
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.send("x\n").line(), format!("Message from Server: x, task_id: {id}\n"));
        server.line_with(&format!("message: x from Client: {}", id + 1));
    }
}

#[test]
fn question_mark_prints_the_help() {
    let server = Server::start();
    let help = server.connect().send("?\n").end().rest();
    assert!(help.contains("\"function\"") && help.contains("default_function"), "{help}");
}

#[test]
fn moments_setting_turns_callback_lines_off() {
    let project = Project::new();
    project.write("config/server.toml", "app_log = false\n");
    let mut server = Server::with(project, "");
    assert_eq!(server.connect().send("quiet\n").end().rest(), "Message from Server: quiet, task_id: 0\n");
    server.signal(Signal::INT);
    assert_eq!(server.exit_code(), Some(0));
    let said = server.rest();
    assert!(!said.iter().any(|line| line.contains("quiet") || line == "Close"), "{said:?}");
}

#[test]
fn terminal_escapes_of_a_client_are_not_printed() {
    let mut server = Server::start();
    server.connect().send(b"\x1b[2Jgone\x00\xff\n").line();
    let line = server.line_with("from Client: 1");
    assert!(line.contains("gone") && !line.contains(['\x1b', '\0']), "{line:?}");
}

#[test]
fn sigterm_ends_the_server_like_ctrl_c() {
    let mut server = Server::start();
    let mut idle = server.connect();
    idle.send("x\n").line();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0), "an idle client does not hold it up");
    assert_eq!(idle.rest(), "");
}
