//! A tab of a real browser, driven by its remote control.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::chromium::Chromium;
use super::client::{Client, bounded_tcp, tcp};
use super::eventually::{eventually, wait_until};

/// A tab, with what went wrong in it so far.
pub(crate) struct Tab {
    socket: WebSocket<TcpStream>,
    calls: u64,
    /// The errors of scripts, and what the policy of a page has kept from loading or running.
    problems: Vec<String>,
}

impl Tab {
    pub(crate) fn open(chromium: &Chromium) -> Self {
        let address = chromium.address();
        let mut client = Client::of(tcp(address));
        client.send(format!("PUT /json/new?about:blank HTTP/1.1\r\nHost: {address}\r\n\r\n"));
        let length = client.find_line("a length", |line| line.to_lowercase().starts_with("content-length:"));
        client.find_line("the body", |line| line.trim_end().is_empty());
        let length = length.split_once(':').unwrap().1.trim().parse().unwrap();
        let target: Value = serde_json::from_str(&client.exactly(length)).unwrap();
        let url = target["webSocketDebuggerUrl"].as_str().unwrap();
        let (socket, _) =
            tungstenite::client(url, bounded_tcp(TcpStream::connect(address).unwrap())).unwrap();
        let mut tab = Self { socket, calls: 0, problems: Vec::new() };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), json!({}));
        }
        tab.size(1280, 900);
        tab
    }

    /// Calls the remote control, and returns its result.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls the remote control; the error that it names.
    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.calls += 1;
        let id = self.calls;
        self.socket
            .send(Message::text(json!({ "id": id, "method": method, "params": params }).to_string()))
            .unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == id {
                return match message["error"].take() {
                    Value::Null => Ok(message["result"].take()),
                    error => Err(error),
                };
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let entry = &event["params"]["entry"];
        let is_problem = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            // Responses that say no are what some tests are about; the icon of a page that is no page is not.
            Some("Log.entryAdded") => entry["level"] == "error" && entry["source"] != "network",
            _ => false,
        };
        if is_problem {
            self.problems.push(event["params"].to_string());
        }
    }

    /// What a script returns, once it has.
    #[track_caller]
    pub(crate) fn eval(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{script}: {result}");
        result["result"]["value"].take()
    }

    /// Waits until a condition of a script holds.
    #[track_caller]
    pub(crate) fn wait(&mut self, condition: &str) {
        wait_until(condition, || {
            // A page that is just being left has no document, or leaves no answer.
            let params = json!({ "expression": format!("Boolean({condition})"), "returnByValue": true });
            self.try_call("Runtime.evaluate", params).is_ok_and(|result| result["result"]["value"] == true)
        });
    }

    /// Goes to a page, and waits until it is there.
    #[track_caller]
    pub(crate) fn go(&mut self, url: &str) {
        let result = self.call("Page.navigate", json!({ "url": url }));
        assert!(result["errorText"].is_null(), "{url}: {result}");
        self.wait("document.readyState === 'complete'");
    }

    /// Clicks on the first element that a selector finds with this in its text, and waits for the next page.
    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str, text: &str) {
        let find = format!(
            "[...document.querySelectorAll({})].find((found) => found.textContent.includes({}))",
            json!(selector),
            json!(text)
        );
        self.wait(&find);
        let click = format!("window.isLeft = true; {find}.click()");
        // The answer may be that the page has been left.
        let _ = self.try_call("Runtime.evaluate", json!({ "expression": click }));
        self.wait("!window.isLeft && document.readyState === 'complete'");
    }

    /// The text of the page's main part.
    pub(crate) fn text(&mut self) -> String {
        self.eval("document.querySelector('main').innerText").as_str().unwrap().to_owned()
    }

    /// Presses keys, one after the other.
    pub(crate) fn press(&mut self, keys: &[&str]) {
        for key in keys {
            let code = if *key == "Enter" { "\r" } else { key };
            let down = json!({ "type": "keyDown", "key": key, "text": code });
            self.call("Input.dispatchKeyEvent", down);
            self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
        }
    }

    /// The size of the window; a narrow one is that of a phone.
    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let is_phone = width < 600;
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Whether the reader likes it dark, and which language the browser asks for.
    pub(crate) fn prefer(&mut self, scheme: &str, language: &str) {
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme);
        let headers = json!({ "headers": { "Accept-Language": language } });
        self.call("Network.setExtraHTTPHeaders", headers);
    }

    /// Writes what is to be seen into a file (PNG).
    pub(crate) fn screenshot(&mut self, file: &Path) {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        fs::write(file, decode(shot["data"].as_str().unwrap())).unwrap();
    }

    /// Fails if a script has failed, or the policy of a page was violated.
    #[track_caller]
    pub(crate) fn assert_no_problems(&mut self) {
        // What has happened before this call has been told before its result.
        self.eval("new Promise((done) => setTimeout(done))");
        assert!(self.problems.is_empty(), "{:#?}", self.problems);
    }
}

/// The bytes of a text in base64.
fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte));
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in digits {
        (bits, count) = (bits << 6 | digit as u32, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// The value of a cookie of the browser, once there is one.
pub(crate) fn cookie(tab: &mut Tab, name: &str) -> Value {
    eventually("a cookie", || {
        let cookies = tab.call("Network.getCookies", json!({}))["cookies"].take();
        cookies
            .as_array()
            .unwrap()
            .iter()
            .find(|cookie| cookie["name"].as_str().unwrap().starts_with(name))
            .cloned()
    })
}
