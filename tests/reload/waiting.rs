//! Clients that wait for results while the server is replaced.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::Message;

use super::started;
use crate::harness::server::Client;

/// A task whose result is awaited.
fn request(number: u32) -> String {
    json!({ "function": "echo", "args": number.to_string(), "reply": "result", "id": number }).to_string()
}

fn result(number: u32) -> String {
    format!("{number} -> OK")
}

fn framed(stream: &mut TcpStream) -> Value {
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut message = vec![0; u32::from_be_bytes(head) as usize - 4];
    stream.read_exact(&mut message).unwrap();
    serde_json::from_slice(&message).unwrap()
}

#[test]
fn whoever_waits_is_answered_on_the_connection_that_asked() {
    let mut daemon = started("[[listeners]]\nport = 0\nreply = \"result\"\n");
    let status = daemon.status();
    let address = status["addresses"][0]["address"].as_str().unwrap().to_owned();
    let workerman = status["addresses"][1]["address"].as_str().unwrap().to_owned();
    daemon.think("queue:pause default").exits(0);

    // By lines, several at once; the last one by the key of another client's task.
    let mut lines = Client::connect(&address);
    lines.send(format!("{}\n{}\n", request(1), request(2)));
    let mut keyed = json!({ "function": "echo", "args": "3", "key": "once" });
    assert_eq!(Client::connect(&address).send(format!("{keyed}\n")).json()["status"], "queued");
    (keyed["reply"], keyed["id"]) = (json!("result"), json!(3));
    lines.send(format!("{keyed}\n"));
    // In Workerman's manner, where the result comes alone.
    let mut bare = Client::connect(&workerman);
    bare.send("{\"function\":\"echo\",\"args\":\"4\"}\n");
    // By frames.
    let mut frames = Client::connect(&address).into_stream();
    let message = request(5);
    frames.write_all(&(message.len() as u32 + 4).to_be_bytes()).unwrap();
    frames.write_all(message.as_bytes()).unwrap();
    // By WebSocket.
    let stream = Client::connect(&address).into_stream();
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
    socket.send(Message::text(request(6))).unwrap();
    // By HTTP, where the response waits.
    let mut http = Client::connect(&address);
    let head = "Content-Type: application/json\r\nContent-Length: 3\r\n";
    http.send(format!("POST /tasks/echo?wait=60s HTTP/1.1\r\nHost: {address}\r\n{head}\r\n\"7\""));
    // By following.
    while daemon.status()["ledger"]["waiting"] != 7 {}
    let mut follower = Client::connect(&address);
    let following = follower.send("{\"command\":\"watch\",\"task\":0,\"id\":\"f\"}\n").json();
    assert_eq!((&following["id"], &following["status"]), (&json!("f"), &json!("watching")));

    daemon.think("task:reload").exits(0);
    let old = daemon.pid;
    daemon.think("queue:resume default").exits(0);
    let mut numbers: Vec<_> = (0..3).map(|_| lines.json()).collect();
    numbers.sort_by_key(|answer| answer["id"].as_u64());
    for (answer, number) in numbers.iter().zip(1..) {
        let (id, result) = (json!(number), json!(result(number)));
        assert_eq!((&answer["id"], &answer["status"], &answer["result"]), (&id, &json!("done"), &result));
    }
    assert_eq!(bare.line(), "\"4 -> OK\"\n");
    assert_eq!(framed(&mut frames)["result"], result(5));
    let Message::Text(text) = socket.read().unwrap() else { panic!("no text") };
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["result"], result(6));
    let response = http.rest();
    assert!(response.starts_with("HTTP/1.1 200 ") && response.contains(&result(7)), "{response}");
    let end = follower.json();
    assert_eq!((&end["id"], &end["task_id"], &end["status"]), (&json!("f"), &json!(0), &json!("done")));

    // Each connection ends when it has its answers, and with the last one the old process.
    for client in [&mut lines, &mut bare, &mut follower] {
        assert_eq!(client.rest(), "");
    }
    assert_eq!(frames.read(&mut [0]).unwrap(), 0);
    let close = std::iter::repeat_with(|| socket.read()).find_map(|read| match read.unwrap() {
        Message::Close(close) => close,
        other => panic!("{other:?}"),
    });
    assert_eq!(u16::from(close.unwrap().code), 1001);
    daemon.replaced();
    assert_ne!(daemon.pid, old);
    let ledger = daemon.settled();
    assert_eq!((&ledger["accepted"], &ledger["done"]), (&json!(7), &json!(7)));
}

#[test]
fn who_waits_longer_than_the_old_process_stays_is_told_to_ask_again() {
    let mut daemon = started("max_wait_time = \"1s\"\n");
    daemon.think("queue:pause default").exits(0);
    let mut client = daemon.client();
    client.send(format!("{}\n", request(1)));
    while daemon.status()["ledger"]["waiting"] != 1 {}
    daemon.think("task:reload").exits(0);
    let answer = client.json();
    assert_eq!((&answer["id"], &answer["code"]), (&json!(1), &json!("shutting_down")));
    assert!(answer["error"].as_str().unwrap().contains("ask for its result again"), "{answer}");
    assert_eq!(client.rest(), "");
    daemon.replaced();
    daemon.think("queue:resume default").exits(0);
    assert_eq!(daemon.settled()["done"], 1);
}

#[test]
fn progress_is_heard_over_several_reloads_and_everybody_is_answered_in_the_end() {
    let mut daemon = started("");
    daemon.think("queue:pause default").exits(0);
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = daemon.client();
        client.send(format!("{}\n", request(number)));
        while daemon.status()["ledger"]["waiting"] != number + 1 {}
        daemon.think("task:reload").exits(0);
        clients.push(client);
    }
    // The first one's answer comes over two processes that are not the server any more.
    daemon.think("queue:resume default").exits(0);
    for (number, client) in (0..).zip(&mut clients) {
        assert_eq!(client.json()["result"], result(number));
        assert_eq!(client.rest(), "");
    }
    daemon.replaced();
}
