//! Every page: with and without tasks, in both languages, dark and light, on a phone.

use std::fs;

use serde_json::{Value, json};

use super::{PAGES, ask, fill, opened, send, url, with_settings};
use crate::harness::browser::Tab;
use crate::harness::server::Server;
use crate::harness::variable;

/// The most bytes of a first page with its style sheet, script and icon.
const SIZE_MAX: usize = 150_000;

/// Looks at a page, which has a title, no error of a script, and nothing beyond the width of the window.
fn look(tab: &mut Tab, server: &Server, page: &str, width: u32) {
    tab.size(width, 900);
    tab.go(&url(server, page));
    let title = tab.eval("document.querySelector('h1').textContent");
    assert!(title.as_str().is_some_and(|title| !title.is_empty()), "{page}");
    let overflow = tab.eval("document.documentElement.scrollWidth - innerWidth");
    assert!(overflow.as_i64().unwrap() <= 0, "{page} is {overflow} pixels too wide for {width}");
    // Of other kinds of characters than the language, only names are left.
    let text = tab.text();
    assert!(!text.contains("{}") && !text.contains("undefined"), "{page}: {text}");
    tab.assert_no_problems();
}

fn every_page(tab: &mut Tab, server: &Server, more: &[&str]) {
    for (scheme, language) in [("light", "en-GB,en;q=0.9"), ("dark", "zh-CN,zh;q=0.9,en;q=0.8")] {
        tab.prefer(scheme, language);
        for page in PAGES.iter().chain(more) {
            look(tab, server, page, 1280);
            look(tab, server, page, 390);
        }
        let expected = if language.starts_with("zh") { "zh-CN" } else { "en" };
        assert_eq!(tab.eval("document.documentElement.lang"), expected);
    }
}

#[test]
fn every_page_shows_that_there_is_nothing() {
    let (server, _chromium, mut tab) = opened("");
    every_page(&mut tab, &server, &[]);
    for (page, said) in [
        ("", "All is well"),
        ("tasks", "There are no tasks."),
        ("tasks?state=failed", "No task fits."),
        ("failures", "No failed task is kept."),
        ("batches", "There are no batches."),
        ("workers", "No worker is connected."),
    ] {
        tab.prefer("light", "en");
        tab.go(&url(&server, page));
        let text = tab.text();
        assert!(text.contains(said), "{page}: {text}");
    }
}

#[test]
fn every_page_shows_tasks_in_both_languages_and_on_a_phone() {
    let (server, _chromium, mut tab) = opened("");
    fill(&server);
    send(&server, &json!({ "function": "echo", "args": "last" }));
    let more = [
        "tasks/0",
        "tasks/3",
        "tasks/5",
        "batches/1",
        "tasks?state=failed&queue=mail",
        "act?do=flush_queue&queue=mail",
    ];
    every_page(&mut tab, &server, &more);
    for (page, said) in [
        ("", "Last failed"),
        ("queues", "mail"),
        ("tasks?state=failed", "send_mail"),
        ("tasks/0", "\"a -> OK\""),
        ("tasks/3", "user1@example.com"),
        ("failures", "of all 2 failed tasks that are kept"),
        ("batches", "batch.ndjson"),
        ("batches/1", "batch.ndjson"),
        ("schedules", "Asia/Shanghai"),
        ("functions/send_mail", "Send a task"),
        ("server", "127.0.0.1:"),
    ] {
        tab.prefer("light", "en");
        tab.go(&url(&server, page));
        let text = tab.text();
        assert!(text.contains(said), "{page}: {text}");
    }
    take_screenshots(&mut tab, &server);
}

/// Into the folder of the variable `SCREENSHOTS`, if there is one.
fn take_screenshots(tab: &mut Tab, server: &Server) {
    let Some(folder) = variable("SCREENSHOTS") else { return };
    fs::create_dir_all(&folder).unwrap();
    for (name, page, scheme, width) in [
        ("overview", "", "light", 1280),
        ("tasks", "tasks", "dark", 1280),
        ("task", "tasks/3", "light", 1280),
        ("failures", "failures", "light", 1280),
        ("function", "functions/send_mail", "dark", 1280),
        ("phone", "", "dark", 390),
    ] {
        tab.prefer(scheme, "en");
        tab.size(width, 860);
        tab.go(&url(server, page));
        tab.wait("document.documentElement.classList.contains('is-live') || !document.body.dataset.live");
        tab.screenshot(&std::path::Path::new(&folder).join(format!("{name}.png")));
    }
}

#[test]
fn tasks_are_filtered_by_the_address_and_shown_page_by_page() {
    let (server, _chromium, mut tab) = opened("");
    for number in 0..120 {
        send(
            &server,
            &json!({ "function": "echo", "args": "x", "queue": if number % 2 == 0 { "mail" } else { "default" } }),
        );
    }
    let rows = "document.querySelectorAll('main tbody tr').length";
    tab.go(&url(&server, "tasks?queue=mail&function=echo"));
    assert_eq!(tab.eval(rows), 50);
    tab.click("a", "Older");
    assert_eq!(tab.eval(rows), 10);
    assert_eq!(tab.eval("document.querySelector('select[name=queue]').value"), "mail");
    tab.click("a", "Newest");
    assert_eq!(tab.eval("document.querySelector('main tbody a').textContent"), "118");
    tab.eval("document.querySelector('select[name=queue]').value = 'default'");
    tab.click("button", "Filter");
    assert_eq!(tab.eval("document.querySelector('main tbody a').textContent"), "119");
    tab.assert_no_problems();
}

#[test]
fn page_is_whole_without_scripts_and_has_no_address_of_its_own_place() {
    let server = with_settings("");
    fill(&server);
    for page in PAGES {
        let (status, head, body) = ask(&server, &format!("GET /ui/{page}"), &[], "");
        assert_eq!(status, 200, "{page}");
        assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self';"), "{head}");
        assert!(
            !head.contains("unsafe") && !body.contains(" style=") && !body.contains(" onclick"),
            "{page}"
        );
        // Behind a proxy that serves the pages below a folder of its own, such addresses would lead elsewhere.
        for address in ["href=\"/", "src=\"/", "action=\"/", "http://", "https://"] {
            let is_known = address == "https://" && page.starts_with("functions/");
            assert!(is_known || !body.contains(address), "{page} has {address}");
        }
        let assets: usize = ["style.css", "script.js", "icon.svg"]
            .map(|asset| ask(&server, &format!("GET /ui/{asset}"), &[], "").2.len())
            .iter()
            .sum();
        assert!(body.len() + assets < SIZE_MAX, "{page} has {} bytes", body.len() + assets);
    }
    let (_, _, body) = ask(&server, "GET /ui/", &[], "");
    assert!(
        body.contains("Last failed") && body.contains("2 failed") || body.contains("Failed <b>2</b>"),
        "{body}"
    );
}

#[test]
fn browser_is_led_to_the_pages_and_programs_are_not() {
    let server = with_settings("");
    let html = ["Accept: text/html,application/xhtml+xml,*/*;q=0.8"];
    let (status, head, _) = ask(&server, "GET /", &html, "");
    assert!(status == 303 && head.contains("\r\nlocation: ui/\r\n"), "{head}");
    let (status, head, _) = ask(&server, "GET /ui", &html, "");
    assert!(status == 303 && head.contains("\r\nlocation: ui/\r\n"), "{head}");
    let (status, _, body) = ask(&server, "GET /", &["Accept: */*"], "");
    assert!(status == 200 && serde_json::from_str::<Value>(&body).unwrap()["routes"].is_object());
    let server = with_settings("ui = false\n");
    assert_eq!(ask(&server, "GET /ui/", &html, "").0, 404);
    assert_eq!(ask(&server, "GET /", &["Accept: */*"], "").0, 200);
}

#[test]
fn unknown_page_and_task_say_so() {
    let server = with_settings("");
    for (page, status) in [
        ("nothing", 404),
        ("tasks/99", 404),
        ("tasks/x", 404),
        ("functions/none", 404),
        ("tasks?state=odd", 400),
    ] {
        let (found, _, body) = ask(&server, &format!("GET /ui/{page}"), &[], "");
        assert_eq!(found, status, "{page}");
        assert!(body.contains("Back to the overview"), "{page}: {body}");
    }
    assert_eq!(ask(&server, "DELETE /ui/", &[], "").0, 405);
}

#[test]
fn keys_go_everywhere() {
    let (server, _chromium, mut tab) = opened("");
    fill(&server);
    tab.go(&url(&server, ""));
    tab.press(&["?"]);
    tab.wait("document.querySelector('dialog').open");
    tab.call(
        "Input.dispatchKeyEvent",
        json!({ "type": "rawKeyDown", "key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27 }),
    );
    tab.wait("!document.querySelector('dialog').open");
    tab.press(&["g", "t"]);
    tab.wait("location.pathname.endsWith('/ui/tasks') && document.readyState === 'complete'");
    tab.press(&["j", "j"]);
    let chosen = tab.eval("document.querySelector('tr.chosen a').textContent");
    assert_eq!(tab.eval("document.activeElement.textContent"), chosen);
    tab.press(&["Enter"]);
    tab.wait(&format!("location.pathname.endsWith('/ui/tasks/{}')", chosen.as_str().unwrap()));
    tab.wait("document.readyState === 'complete'");
    tab.press(&["/", "7", "Enter"]);
    tab.wait("location.pathname.endsWith('/ui/tasks/7') && document.readyState === 'complete'");
    tab.press(&["t"]);
    assert_eq!(tab.eval("document.documentElement.dataset.theme"), "dark");
    tab.go(&url(&server, "queues"));
    assert_eq!(tab.eval("document.documentElement.dataset.theme"), "dark", "it is remembered");
    tab.click("a", "简体中文");
    assert_eq!(tab.eval("document.querySelector('h1').textContent"), "队列");
    tab.click("a", "English");
    assert_eq!(tab.eval("document.querySelector('h1').textContent"), "Queues");
    tab.assert_no_problems();
}
