//! Pages that keep themselves up to date.

use serde_json::json;

use super::{opened, restart, send, url, wait_for};
use crate::harness::browser::Tab;
use crate::harness::eventually::wait_until;

#[test]
fn page_shows_what_happens_without_being_loaded_again() {
    let (server, chromium, mut tab) = opened("");
    let mut other = Tab::open(&chromium);
    tab.go(&url(&server, "tasks"));
    other.go(&url(&server, ""));
    for tab in [&mut tab, &mut other] {
        tab.eval("window.isSame = true");
        tab.wait("document.documentElement.classList.contains('is-live')");
    }
    send(&server, &json!({ "function": "echo", "args": "x" }));
    tab.wait("window.isSame && document.querySelector('main tbody')?.innerText.includes('echo')");
    other.wait("window.isSame && document.querySelector('.ledger').innerText.includes('1 accepted')");
    [tab, other].iter_mut().for_each(Tab::assert_no_problems);
}

#[test]
fn page_goes_on_after_a_restart_of_the_server() {
    let (server, _chromium, mut tab) = opened("");
    tab.go(&url(&server, "tasks"));
    tab.wait("document.documentElement.classList.contains('is-live')");
    let server = restart(server);
    send(&server, &json!({ "function": "echo", "args": "after" }));
    tab.wait("document.querySelector('main tbody')?.innerText.includes('echo')");
    tab.assert_no_problems();
}

#[test]
fn stream_ends_with_the_browser() {
    let (server, chromium, mut tab) = opened("");
    tab.go(&url(&server, "tasks"));
    tab.wait("document.documentElement.classList.contains('is-live')");
    drop(chromium);
    let connections = || server.status()["connections"]["current"].as_u64().unwrap();
    // The one that asks.
    wait_until("the browser has gone", || connections() <= 1);
    wait_for(&server, &json!({ "accepted": 0 }));
}
