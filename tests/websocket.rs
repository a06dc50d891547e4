//! WebSocket on the same port: its messages are the messages of any connection.

mod peer;

use serde_json::json;
use tungstenite::Message;

use self::peer::Peer;
use crate::harness::Project;
use crate::harness::server::Server;

fn with_settings(settings: &str) -> Server {
    let project = Project::new();
    project.write("config/server.toml", settings);
    Server::with(project, "")
}

#[test]
fn text_and_binary_messages_are_requests_or_raw_data() {
    let server = Server::start();
    let mut peer = Peer::connect(&server);
    peer.send(r#"{"function":"echo","args":"hi","id":1,"reply":"both"}"#);
    assert_eq!(peer.json()["status"], "queued");
    assert_eq!(peer.json(), json!({"id": 1, "task_id": 0, "status": "done", "result": "hi -> OK"}));
    peer.send("666");
    assert_eq!(peer.text(), "Message from Server: 666, task_id: 1");
    peer.socket.send(Message::binary(&b"{\"function\":\"noop\",\"args\":null}"[..])).unwrap();
    assert_eq!(peer.json(), json!({"task_id": 2, "status": "queued", "durability": "fsync"}));
    peer.send("two\nlines");
    assert_eq!(peer.text(), "Message from Server: two\nlines, task_id: 3", "one message however many lines");
    peer.send("");
    assert_eq!(peer.text(), "Message from Server: , task_id: 4");
}

#[test]
fn help_is_one_message() {
    let server = Server::start();
    let mut peer = Peer::connect(&server);
    peer.send("?");
    peer.send("x");
    let help = peer.text();
    assert!(help.starts_with("One message") && help.contains("on_receive"), "{help}");
    assert_eq!(peer.text(), "Message from Server: x, task_id: 0");
}

#[test]
fn many_messages_at_once_are_answered_in_their_order() {
    const COUNT: usize = 20_000;
    let server = with_settings("moments = false\n");
    let mut peer = Peer::connect(&server);
    let mut writing = peer.another();
    let writer = std::thread::spawn(move || {
        for id in 0..COUNT {
            writing
                .write(Message::text(format!("{{\"function\":\"noop\",\"id\":{id},\"args\":null}}")))
                .unwrap();
        }
        writing.flush().unwrap();
    });
    for id in 0..COUNT {
        assert_eq!(peer.json()["id"], id);
    }
    writer.join().unwrap();
}
