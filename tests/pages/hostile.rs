//! Whatever a client has sent, the pages show it as text.

use serde_json::json;

use super::{PAGES, ask, opened, send, url, wait_for};

const SCRIPT: &str =
    "</script></pre></textarea><script>window.pwned = 1</script><img src=x onerror=\"window.pwned = 2\">";
/// A character that turns the direction of the text, a control character, one without a width, and a NUL.
const ODD: &str = "\u{202e}gpj.exe \u{7} a\u{200b}b \u{0}";

#[test]
fn hostile_task_is_text_on_every_page() {
    let (server, _chromium, mut tab) = opened("");
    let text = format!("{SCRIPT}{ODD}");
    let mut worker = server.connect();
    let work = json!({
        "command": "work", "version": 1, "worker": SCRIPT, "language": SCRIPT, "credit": 10,
        "functions": [{ "name": "hostile", "queue": "odd", "schema": { "description": SCRIPT, "properties": { SCRIPT: { "description": SCRIPT }, "choice": { "enum": [SCRIPT], "default": SCRIPT } } } }],
    });
    worker.send(format!("{work}\n")).line();
    send(&server, &json!({ "function": "echo", "args": text, "key": SCRIPT, "concurrency_key": SCRIPT }));
    send(
        &server,
        &json!({ "function": "hostile", "args": { SCRIPT: { "deep": [[[[text]]]] } }, "attempts": 1 }),
    );
    let lease = worker.find_json("a task", |message| message["lease"].is_string())["lease"].clone();
    let log = json!({ "command": "log", "lease": lease, "text": text });
    let progress = json!({ "command": "progress", "lease": lease, "percent": 42.0, "text": text });
    let settle = json!({ "command": "settle", "ends": [{ "lease": lease, "error": text }] });
    worker.send(format!("{log}\n{progress}\n{settle}\n"));
    wait_for(&server, &json!({ "failed": 1, "done": 1 }));
    let more = [
        "tasks/0",
        "tasks/1",
        "functions/hostile",
        "tasks?function=%3Cscript%3E",
        "act?do=forget_task&task=1&back=javascript:alert(1)",
    ];
    for page in PAGES.iter().chain(&more) {
        tab.go(&url(&server, page));
        tab.wait("document.documentElement.classList.contains('is-live') || !document.body.dataset.live");
        assert!(tab.eval("window.pwned").is_null(), "{page}");
        let bidi = tab.eval("/[\\u202a-\\u202e\\u2066-\\u2069]/.test(document.body.innerText)");
        assert_eq!(bidi, false, "{page} turns the direction of its text");
        let links = tab.eval(
            "[...document.links].filter((link) => !['http:', 'https:'].includes(link.protocol)).length",
        );
        assert_eq!(links, 0, "{page}");
    }
    tab.go(&url(&server, "tasks/1"));
    assert!(tab.text().contains("\\u{202e}gpj.exe \\u{7}"), "{}", tab.text());
    tab.assert_no_problems();
}

#[test]
fn long_arguments_are_cut() {
    let (server, _chromium, mut tab) = opened("");
    let wide: Vec<_> = (0..5_000).map(|number| format!("tag {number}")).collect();
    send(&server, &json!({ "function": "echo", "args": "你".repeat(600_000) }));
    let mut worker = server.connect();
    worker.send("{\"command\":\"work\",\"version\":1,\"worker\":\"w\",\"credit\":0,\"functions\":[{\"name\":\"wide\"}]}\n").line();
    send(&server, &json!({ "function": "wide", "args": { "tags": wide, "text": "x".repeat(1_000_000) } }));
    wait_for(&server, &json!({ "done": 1 }));
    for page in ["tasks", "tasks/0", "tasks/1"] {
        let (_, _, body) = ask(&server, &format!("GET /ui/{page}"), &[], "");
        assert!(body.len() < 150_000, "{page} has {} bytes", body.len());
        tab.go(&url(&server, page));
    }
    assert!(tab.text().contains("Only the first 1,000 values are shown"), "{}", tab.text().len());
    tab.assert_no_problems();
}
