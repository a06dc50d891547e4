//! Pages in a real browser: some whose messages become slow tasks, and some that may not send any.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use framework::config::Config;
use framework::prelude::*;
use framework::protocol::Durability;
use framework::server::{Server, ServerHandle, ServerSettings};
use framework::task::Handlers;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::Project;
use crate::harness::chromium::Chromium;
use crate::harness::server::Server as Program;
use crate::harness::site::Site;

/// Makes a slow task of each message of a page, and notifies the page when it is done.
#[derive(Default)]
struct PageEvents {
    waiting: Mutex<HashMap<u64, Connection>>,
    /// Lets the slow task of each page continue.
    gates: Arc<Gates>,
}

#[derive(Default)]
struct Gates(Mutex<HashMap<String, Arc<Notify>>>);

impl Gates {
    fn of(&self, page: &str) -> Arc<Notify> {
        self.0.lock().unwrap().entry(page.to_owned()).or_default().clone()
    }
}

impl Events for PageEvents {
    async fn on_receive(&self, connection: &Connection, data: Bytes) -> Result<()> {
        let id = connection.task(Slow(String::from_utf8(data.to_vec())?)).await?;
        self.waiting.lock().unwrap().insert(id, connection.clone());
        connection.send(format_args!("{} is task {id}", String::from_utf8_lossy(&data)));
        Ok(())
    }

    async fn on_task(&self, attempt: &Attempt) -> Outcome {
        let page: String = serde_json::from_slice(attempt.args()).unwrap();
        self.gates.of(&page).notified().await;
        attempt.run().await
    }

    async fn on_finish(&self, finished: &Finished) {
        // Out of the map first: a lock is never held while something is sent.
        let page = self.waiting.lock().unwrap().remove(&finished.id());
        if let Some(page) = page {
            page.send(format_args!("task {} is done: {}", finished.id(), finished.outcome().text()));
        }
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_slow")]
struct Slow(String);

impl Handle for Slow {
    type Output = String;

    async fn handle(self, _attempt: &Attempt) -> Result<String> {
        Ok(format!("{} sent", self.0))
    }
}

async fn start(root: &std::path::Path, events: PageEvents) -> ServerHandle {
    let settings = ServerSettings { durability: Durability::Memory, port: 0, ..ServerSettings::default() };
    let handlers = Arc::new(Handlers::collect().unwrap());
    let config = Config::at(root, []);
    let store = settings.open_store(&config, handlers.clone()).unwrap();
    Server { config, settings, handlers, events: Arc::new(events), store, pages: None }.start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_pages_are_notified_when_their_own_slow_tasks_end() {
    let root = tempfile::TempDir::new().unwrap();
    let pages = PageEvents::default();
    let gates = pages.gates.clone();
    let running = start(root.path(), pages).await;
    let address = running.addresses()[0].to_string();
    tokio::task::spawn_blocking(move || {
        let site = Site::open();
        let chromium = Chromium::start(&[]);
        let open =
            |tab: &str| chromium.open(&site.url("127.0.0.1", &format!("talk.html?ws://{address}/#{tab}")));
        open("a");
        assert_eq!(site.report(), json!(["a", "a is task 0"]), "answered while its task goes on");
        open("b");
        assert_eq!(site.report(), json!(["b", "b is task 1"]), "a second tab does not wait for the first");
        gates.of("b").notify_one();
        assert_eq!(site.report(), json!(["b", "task 1 is done: b sent"]), "nor does its task");
        gates.of("a").notify_one();
        assert_eq!(site.report(), json!(["a", "task 0 is done: a sent"]));
    })
    .await
    .unwrap();
    running.stop().await;
}

/// Has a page of this host try every way to send a task; the result of each.
fn try_everything(server: &Program, site: &Site, chromium: &Chromium, host: &str) -> Value {
    let (_, port) = server.address.rsplit_once(':').unwrap();
    chromium.open(&site.url(host, &format!("attack.html?{port}")));
    site.report()
}

#[test]
fn foreign_page_cannot_send_tasks() {
    let server = Program::start();
    let site = Site::open();
    let chromium = Chromium::start(&["--host-resolver-rules=MAP *.test 127.0.0.1"]);
    let came = try_everything(&server, &site, &chromium, "evil.test");
    for (tried, came) in came.as_object().unwrap() {
        // A request without a readable response may have been sent; the ledger shows that it was rejected.
        let is_blind = tried.contains("no-cors") && came == "sent";
        assert!(is_blind || came == "failed", "{tried}: {came}");
    }
    assert_eq!(came.as_object().unwrap().len(), 8, "{came}");
    assert_eq!(server.status()["ledger"]["accepted"], 0);
}

#[test]
fn dns_rebinding_is_rejected() {
    let server = Program::start();
    let (_, port) = server.address.rsplit_once(':').unwrap();
    let rules = "--host-resolver-rules=MAP *.test 127.0.0.1";
    let dumped = Chromium::dump(&[rules, &format!("http://evil.test:{port}/status")]);
    assert!(dumped.contains("forbidden") && !dumped.contains("ledger"), "{dumped}");
    let dumped = Chromium::dump(&[rules, &format!("http://localhost:{port}/status")]);
    assert!(dumped.contains("ledger"), "{dumped}");
}

#[test]
fn listed_origin_is_accepted() {
    let site = Site::open();
    let project = Project::new();
    let origin = site.url("friend.test", "");
    project.write(
        "config/server.toml",
        &format!("origins = [\"{}\"]\nhosts = [\"friend.test\"]\n", origin.trim_end_matches('/')),
    );
    let server = Program::with(project, "");
    let chromium = Chromium::start(&["--host-resolver-rules=MAP *.test 127.0.0.1"]);
    let came = try_everything(&server, &site, &chromium, "friend.test");
    assert_eq!(came["ws 127.0.0.1"], "Message from Server: ws 127.0.0.1, task_id: 0", "{came}");
    assert_eq!(came["ws friend.test"], "Message from Server: ws friend.test, task_id: 1", "{came}");
}
