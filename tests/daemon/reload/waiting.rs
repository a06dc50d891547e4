//! Clients that wait for results while the server is replaced.

use std::io::{Read, Write};

use serde_json::{Value, json};
use tungstenite::Message;

use super::started;
use crate::harness::client::Client;
use crate::harness::frames::{frame, read_frame};

/// A task whose result is awaited.
fn request(number: u32) -> String {
    json!({ "function": "echo", "args": number.to_string(), "reply": "result", "id": number }).to_string()
}

fn result(number: u32) -> String {
    format!("{number} -> OK")
}

#[test]
fn reload_answers_waiting_clients_on_their_own_connections() {
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
    // As Workerman's clients, which get the bare result.
    let mut bare = Client::connect(&workerman);
    bare.send("{\"function\":\"echo\",\"args\":\"4\"}\n");
    // By frames.
    let mut frames = Client::connect(&address).into_stream();
    frames.write_all(&frame(request(5))).unwrap();
    // By WebSocket.
    let stream = Client::connect(&address).into_stream();
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
    socket.send(Message::text(request(6))).unwrap();
    // By HTTP, where the response waits.
    let mut http = Client::connect(&address);
    let head = "Content-Type: application/json\r\nContent-Length: 3\r\n";
    http.send(format!("POST /tasks/echo?wait=60s HTTP/1.1\r\nHost: {address}\r\n{head}\r\n\"7\""));
    // By following.
    daemon.wait_for_waiting(7);
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
    let framed: Value = serde_json::from_slice(&read_frame(&mut frames).unwrap()).unwrap();
    assert_eq!(framed["result"], result(5));
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
    let Message::Close(Some(close)) = socket.read().unwrap() else { panic!("no reason to close") };
    assert_eq!(u16::from(close.code), 1001);
    daemon.follow_reload();
    assert_ne!(daemon.pid, old);
    let ledger = daemon.idle_ledger();
    assert_eq!((&ledger["accepted"], &ledger["done"]), (&json!(7), &json!(7)));
}

#[test]
fn reload_sends_waiting_clients_an_error_after_max_wait_time() {
    let mut daemon = started("max_wait_time = \"1s\"\n");
    daemon.think("queue:pause default").exits(0);
    let mut client = daemon.client();
    client.send(format!("{}\n", request(1)));
    daemon.wait_for_waiting(1);
    daemon.think("task:reload").exits(0);
    let answer = client.json();
    assert_eq!((&answer["id"], &answer["code"]), (&json!(1), &json!("shutting_down")));
    assert!(answer["error"].as_str().unwrap().contains("ask for its result again"), "{answer}");
    assert_eq!(client.rest(), "");
    daemon.follow_reload();
    daemon.think("queue:resume default").exits(0);
    assert_eq!(daemon.idle_ledger()["done"], 1);
}

#[test]
fn reload_chain_answers_every_waiting_client() {
    let mut daemon = started("");
    daemon.think("queue:pause default").exits(0);
    let mut clients = Vec::new();
    for number in 0..3 {
        let mut client = daemon.client();
        client.send(format!("{}\n", request(number)));
        daemon.wait_for_waiting(number + 1);
        daemon.think("task:reload").exits(0);
        clients.push(client);
    }
    // The answer of the first one is relayed by two processes that are not the server any more.
    daemon.think("queue:resume default").exits(0);
    for (number, client) in (0..).zip(&mut clients) {
        assert_eq!(client.json()["result"], result(number));
        assert_eq!(client.rest(), "");
    }
    daemon.follow_reload();
}
