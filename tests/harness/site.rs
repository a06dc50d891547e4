//! A web site whose pages report what they have seen.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::Value;

use super::client::bounded_tcp;
use super::project_root;

/// The bound on a report of a page; longer than a browser takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Serves the pages of `tests/clients/browser` and one more, under any host name.
pub(crate) struct Site {
    port: u16,
    reports: Receiver<Value>,
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
        let (sender, reports) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (sender, more) = (sender.clone(), more.clone());
                std::thread::spawn(move || serve(&bounded_tcp(stream.unwrap()), &sender, &more));
            }
        });
        Self { port, reports }
    }

    pub(crate) fn url(&self, host: &str, page: &str) -> String {
        format!("http://{host}:{}/{page}", self.port)
    }

    /// The next report of a page.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        self.reports.recv_timeout(PATIENCE).expect("a page reports something")
    }
}

/// Answers one request: for a page, or with the report of a page.
fn serve(stream: &TcpStream, reports: &Sender<Value>, more: &str) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    // A browser also connects ahead of its needs, and sends nothing then.
    while reader.read_until(b'\n', &mut head).is_ok_and(|count| count > 2) {}
    let head = String::from_utf8(head).unwrap();
    let Some(line) = head.lines().next() else { return };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let page = line.split(['/', '?', ' ']).nth(2).unwrap_or_default();
    let text = if line.starts_with("POST /report ") {
        let mut body = vec![0; length.unwrap()];
        reader.read_exact(&mut body).unwrap();
        // The test may have ended.
        let _ = reports.send(serde_json::from_slice(&body).unwrap());
        String::new()
    } else if page == "page.html" {
        more.to_owned()
    } else {
        std::fs::read_to_string(project_root().join("tests/clients/browser").join(page)).unwrap_or_default()
    };
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let _ = (&*stream).write_all(response.as_bytes());
}
