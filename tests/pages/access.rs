//! Who may see the pages, and do something on them.

use std::fs;

use serde_json::json;

use super::{PAGES, ask, opened, restart, send, url, with_settings};
use crate::harness::Project;
use crate::harness::browser::{Tab, cookie};
use crate::harness::chromium::Chromium;
use crate::harness::server::Server;

const LOOKER: &str = "looker-0123456789abcdef";
const SENDER: &str = "sender-0123456789abcdef";
const ADMIN: &str = "admin-0123456789abcdef";

fn with_tokens() -> Server {
    let project = Project::with_settings("app_log = false\ntokens_file = \"tokens\"\n");
    project.write_secret("tokens", &format!("{LOOKER} inspect\n{SENDER} inspect,send\n{ADMIN} admin\n"));
    Server::with(project, "")
}

fn sign_in(tab: &mut Tab, server: &Server, token: &str) {
    tab.go(&url(server, "login"));
    tab.eval(&format!("document.querySelector('[name=token]').value = '{token}'"));
    tab.click("button", "Sign in");
}

#[test]
fn token_signs_in_and_its_end_signs_out() {
    let server = with_tokens();
    let chromium = Chromium::start(&[]);
    let mut tab = Tab::open(&chromium);
    for page in PAGES {
        let (status, head, body) = ask(&server, &format!("GET /ui/{page}"), &[], "");
        assert!(status == 303 && head.contains("login?to=") && body.is_empty(), "{page}: {head}");
    }
    tab.go(&url(&server, "tasks?state=failed"));
    sign_in(&mut tab, &server, "wrong-0123456789abcdef");
    assert!(tab.text().contains("This token is not valid."), "{}", tab.text());
    tab.go(&url(&server, "tasks?state=failed"));
    tab.eval(&format!("document.querySelector('[name=token]').value = '{ADMIN}'"));
    tab.click("button", "Sign in");
    assert_eq!(tab.eval("location.pathname + location.search"), "/ui/tasks?state=failed", "where it began");
    let session = cookie(&mut tab, "think_session");
    assert_eq!((&session["httpOnly"], &session["sameSite"]), (&json!(true), &json!("Strict")), "{session}");
    assert_eq!((&session["path"], &session["secure"]), (&json!("/ui"), &json!(false)), "{session}");
    let value = session["value"].as_str().unwrap();
    assert!(!value.contains(ADMIN), "{value}");
    let stolen = format!("Cookie: {}={value}", session["name"].as_str().unwrap());
    assert_eq!(ask(&server, "GET /ui/tasks", &[&stolen], "").0, 200);
    assert_eq!(ask(&server, "GET /tasks", &[&stolen], "").0, 401, "it is of no use elsewhere");
    // The page is open when the token is revoked.
    tab.go(&url(&server, "queues"));
    tab.wait("document.documentElement.classList.contains('is-live')");
    fs::write(server.project.path("tokens"), format!("{LOOKER} inspect\n")).unwrap();
    tab.wait("location.pathname.endsWith('/ui/login')");
    assert_eq!(ask(&server, "GET /ui/tasks", &[&stolen], "").0, 303, "a stolen cookie ends as well");
    tab.assert_no_problems();
}

#[test]
fn session_survives_a_restart_and_ends_when_it_is_signed_out() {
    let server = with_tokens();
    let chromium = Chromium::start(&[]);
    let mut tab = Tab::open(&chromium);
    sign_in(&mut tab, &server, ADMIN);
    let server = restart(server);
    tab.go(&url(&server, "queues"));
    assert_eq!(tab.eval("document.querySelector('h1').textContent"), "Queues");
    tab.click("button", "Sign out");
    assert_eq!(tab.eval("location.pathname"), "/ui/login");
    tab.go(&url(&server, "queues"));
    assert_eq!(tab.eval("location.pathname"), "/ui/login");
}

#[test]
fn scopes_hold_on_the_pages() {
    let server = with_tokens();
    let mut client = server.connect();
    client.send(format!("{{\"command\":\"auth\",\"token\":\"{ADMIN}\"}}\n")).line();
    client.send("{\"function\":\"echo\",\"args\":\"x\",\"delay\":\"1h\"}\n").line();
    let chromium = Chromium::start(&[]);
    let mut tab = Tab::open(&chromium);
    sign_in(&mut tab, &server, LOOKER);
    tab.go(&url(&server, "tasks/0"));
    assert_eq!(tab.eval("document.querySelectorAll('main form').length"), 0, "nothing can be done");
    tab.go(&url(&server, "functions/echo"));
    assert_eq!(tab.eval("document.querySelectorAll('main form').length"), 0, "nothing can be sent");
    // With the key of its own forms, as a page could be changed.
    let post = "fetch('act', {method: 'POST', body: new URLSearchParams({form_key: document.querySelector('[name=form_key]').value, \
                do: 'cancel_task', task: '0'})}).then((response) => response.status)";
    assert_eq!(tab.eval(post), 403);
    sign_in(&mut tab, &server, SENDER);
    tab.go(&url(&server, "functions/echo"));
    tab.eval("document.querySelector('[name=arg]').value = 'hello'");
    tab.click("button", "Send");
    assert!(tab.text().contains("The task was accepted."), "{}", tab.text());
    tab.assert_no_problems();
}

#[test]
fn form_of_no_page_of_this_session_is_refused() {
    let (server, _chromium, mut tab) = opened("");
    send(&server, &json!({ "function": "echo", "args": "x", "delay": "1h" }));
    for form in
        ["do=cancel_task&task=0", "do=cancel_task&task=0&form_key=", "do=cancel_task&task=0&form_key=AAAA"]
    {
        assert_eq!(ask(&server, "POST /ui/act", &[], form).0, 403, "{form}");
    }
    tab.go(&url(&server, ""));
    let key = tab.eval("document.querySelector('[name=form_key]').value");
    let form = format!("do=cancel_task&task=0&form_key={}", key.as_str().unwrap());
    let origin = format!("Origin: http://{}", server.address);
    let host = format!("Host: {}", server.address);
    for foreign in
        ["Origin: http://evil.test", "Origin: null", "Sec-Fetch-Site: cross-site", "Host: evil.test"]
    {
        assert_eq!(ask(&server, "POST /ui/act", &[foreign], &form).0, 403, "{foreign}");
    }
    assert_eq!(server.ledger()["cancelled"], 0);
    assert_eq!(ask(&server, "POST /ui/act", &[&origin, &host], &form).0, 303);
    assert_eq!(server.ledger()["cancelled"], 1);
    assert_eq!(
        ask(&server, "GET /ui/", &["Host: evil.test"], "").0,
        403,
        "a name that leads here (DNS rebinding)"
    );
}

#[test]
fn own_page_is_no_foreign_one_where_other_machines_come() {
    let settings = format!("host = \"0.0.0.0\"\ntokens = \"{ADMIN}:admin\"\n");
    let server = with_settings(&settings);
    let (_, port) = server.address.rsplit_once(':').unwrap();
    let form = format!("token={ADMIN}");
    let headers = |host: &str, origin: &str| {
        [format!("Host: {host}:{port}"), format!("Origin: http://{origin}:{port}")]
    };
    let sign_in = |host: &str, origin: &str| {
        let headers = headers(host, origin);
        ask(&server, "POST /ui/login", &[&headers[0], &headers[1]], &form).0
    };
    assert_eq!(sign_in("tasks.example.com", "tasks.example.com"), 303);
    assert_eq!(sign_in("tasks.example.com", "evil.test"), 403);
}
