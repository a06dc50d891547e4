//! Frames (Workerman's Frame): four bytes of length before each message, in both directions.

use std::io::Write;
use std::net::Shutdown;

use serde_json::json;

use crate::harness::frames::{FrameClient, frame};
use crate::harness::server::Server;

fn with_limit_64() -> Server {
    Server::with_settings("package_max_length = 64\n")
}

#[test]
fn frame_is_one_message_in_both_directions() {
    let server = Server::start();
    let mut client = FrameClient::connect(&server);
    client.send(r#"{"function":"echo","args":"hi","id":1,"reply":"both"}"#);
    assert_eq!(client.json(), json!({"id": 1, "task_id": 0, "status": "queued", "durability": "fsync"}));
    assert_eq!(client.json(), json!({"id": 1, "task_id": 0, "status": "done", "result": "hi -> OK"}));
    client.send("two\nlines");
    assert_eq!(client.text(), "Message from Server: two\nlines, task_id: 1");
    client.send("");
    assert_eq!(client.text(), "Message from Server: , task_id: 2", "an empty message is one");
    client.send("?").send("x");
    assert!(client.text().contains("on_receive"), "help is one message");
    assert_eq!(client.text(), "Message from Server: x, task_id: 3");
}

#[test]
fn frames_split_anywhere_are_the_same_frames() {
    let server = Server::start();
    let stream = [frame(r#"{"function":"noop","args":null,"id":1}"#), frame("raw"), frame("")].concat();
    for cut in 0..=stream.len() {
        let mut client = FrameClient::connect(&server);
        client.0.write_all(&stream[..cut]).unwrap();
        client.0.write_all(&stream[cut..]).unwrap();
        assert_eq!(client.json()["id"], 1, "cut at {cut}");
        assert!(client.text().contains("raw") && client.text().contains("Server: ,"), "cut at {cut}");
    }
    let mut client = FrameClient::connect(&server);
    for byte in stream {
        client.0.write_all(&[byte]).unwrap();
    }
    assert_eq!(client.json()["status"], "queued");
}

#[test]
fn frames_in_one_write_are_answered_in_order() {
    const COUNT: usize = 20_000;
    let server = Server::start();
    let mut client = FrameClient::connect(&server);
    let request = |id: usize| match id % 3 {
        0 => json!({"function": "noop", "args": null, "id": id}),
        1 => json!({"function": "echo", "args": id.to_string(), "reply": "result"}),
        _ => json!({"command": "nope", "id": id}),
    };
    let stream: Vec<u8> = (0..COUNT).flat_map(|id| frame(request(id).to_string())).collect();
    let mut writer = client.0.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&stream).unwrap());
    // Replies with an id may overtake; the others keep their order.
    let mut results = (0..COUNT).filter(|id| id % 3 == 1);
    for _ in 0..COUNT {
        let answer = client.json();
        if answer.get("id").is_none() {
            assert_eq!(answer["result"], format!("{} -> OK", results.next().unwrap()));
        }
    }
    assert_eq!(results.next(), None);
    writing.join().unwrap();
}

#[test]
fn frame_longer_than_the_limit_is_rejected_and_closed() {
    let server = with_limit_64();
    let mut client = FrameClient::connect(&server);
    let longest = "x".repeat(64);
    assert!(client.send(&longest).text().contains(&longest));
    // More is on its way when the server stops reading; the reason must arrive all the same.
    let mut writer = client.0.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let stream = [frame("last words"), frame("y".repeat(65)), vec![b'z'; 1_000_000]].concat();
        writer.write_all(&stream).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(client.text().contains("last words"), "what came before is answered");
    let refusal = client.json();
    assert_eq!(refusal["code"], "too_long", "{refusal}");
    client.ends();
    writing.join().unwrap();
}

#[test]
fn frame_with_an_impossible_length_is_rejected_and_closed() {
    let server = Server::start();
    for (head, code) in
        [([0, 0, 0, 0], "bad_request"), ([0, 0, 0, 3], "bad_request"), ([0, 255, 255, 255], "too_long")]
    {
        let mut client = FrameClient::connect(&server);
        client.0.write_all(&head).unwrap();
        assert_eq!(client.json()["code"], code, "{head:?}");
        client.ends();
    }
    let mut client = FrameClient::connect(&server);
    client.send(r#"{"function":"echo","args":"x","reply":"result"}"#).0.write_all(&[0; 4]).unwrap();
    assert_eq!(client.json()["result"], "x -> OK");
    assert_eq!(client.json()["code"], "bad_request");
    client.ends();
}

#[test]
fn incomplete_frame_is_no_message() {
    let mut server = Server::start();
    let mut client = FrameClient::connect(&server);
    client.0.write_all(&frame("whole")).unwrap();
    client.0.write_all(&frame("never sent")[..9]).unwrap();
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.text(), "Message from Server: whole, task_id: 0");
    client.ends();
    server.line_with("Close");
    assert_eq!(server.status()["ledger"]["accepted"], 1);
}
