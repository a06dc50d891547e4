//! A site of pages, which tell it what they have seen.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::Value;

use crate::harness::house;

/// Longer than a browser takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pages of this folder and one more, under any name that leads here.
pub(crate) struct Site {
    port: u16,
    told: Receiver<Value>,
}

impl Site {
    pub(crate) fn open() -> Self {
        Self::with("")
    }

    /// With one more page, called `page.html`.
    pub(crate) fn with(page: &str) -> Self {
        let more: Arc<str> = page.into();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, told) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, more) = (sender.clone(), more.clone());
                std::thread::spawn(move || serve(&stream.unwrap(), &sender, &more));
            }
        });
        Self { port, told }
    }

    pub(crate) fn url(&self, host: &str, page: &str) -> String {
        format!("http://{host}:{}/{page}", self.port)
    }

    /// What a page tells next.
    #[track_caller]
    pub(crate) fn told(&self) -> Value {
        self.told.recv_timeout(PATIENCE).expect("a page tells something")
    }
}

/// Answers one request: a page, or what a page tells.
fn serve(stream: &TcpStream, told: &Sender<Value>, more: &str) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    // A browser also connects ahead of its needs, and says nothing then.
    while reader.read_until(b'\n', &mut head).is_ok_and(|count| count > 2) {}
    let head = String::from_utf8(head).unwrap();
    let Some(line) = head.lines().next() else { return };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let page = line.split(['/', '?', ' ']).nth(2).unwrap_or_default();
    let text = if line.starts_with("POST /tell ") {
        let mut body = vec![0; length.unwrap()];
        reader.read_exact(&mut body).unwrap();
        // Nobody listens to the last words of a test that has ended.
        drop(told.send(serde_json::from_slice(&body).unwrap()));
        String::new()
    } else if page == "page.html" {
        more.to_owned()
    } else {
        std::fs::read_to_string(house().join("tests/browser").join(page)).unwrap_or_default()
    };
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    );
    drop((&*stream).write_all(response.as_bytes()));
}
