//! The README's clients in other languages, each run by its own interpreter or browser.

use std::process::Command;

use crate::browser::chromium::Chromium;
use crate::browser::site::Site;
use crate::harness::server::Server;
use crate::harness::{Project, Ran, installed};
use crate::readme::blocks;

/// A port at which nothing listens: those below 1024 are not given out.
const NOBODY: &str = "127.0.0.1:1";

fn server() -> Server {
    installed();
    let project = Project::new();
    project.write("config/server.toml", "default_function = \"send_mail\"\n");
    Server::with(project, "")
}

/// The only block of this language, for a server at this address.
fn code(language: &str, address: &str) -> String {
    let [block] = blocks(language).try_into().expect("the README has one client in each language");
    at(&block, address)
}

/// The same for a server at this address, however the language writes that.
fn at(code: &str, address: &str) -> String {
    let (_, port) = address.rsplit_once(':').unwrap();
    assert!(code.contains("9501"), "{code}");
    code.replace("9501", port)
}

/// Hands a mail over, and waits for its end.
fn sends_a_mail(language: &str, interpreter: &str) {
    let server = server();
    let file = server.project.path("client");
    std::fs::write(&file, code(language, &server.address)).unwrap();
    let ran = Ran::of(Command::new(interpreter).arg(&file)).exits(0);
    assert_eq!(ran.stdout, "task 0\ndone\n", "{ran:?}");
    assert_eq!(server.status()["ledger"]["done"], 1);
    std::fs::write(&file, code(language, &server.address).replace("ada@example.com", "nobody")).unwrap();
    let ran = Ran::of(Command::new(interpreter).arg(&file)).exits(0);
    assert!(ran.stdout.contains("\"nobody\" is no mail address"), "{ran:?}");
}

#[test]
fn the_client_in_php_sends_a_mail() {
    sends_a_mail("php", "php");
}

#[test]
fn the_client_in_python_sends_a_mail() {
    sends_a_mail("python", "python3");
}

#[test]
fn the_client_in_javascript_sends_a_mail() {
    sends_a_mail("javascript", "node");
}

#[test]
fn the_page_turns_from_sending_to_sent() {
    let server = server();
    let watch = "<script>
        const mail = document.getElementById('mail')
        const tell = () => fetch('/tell', { method: 'POST', body: JSON.stringify(mail.textContent) })
        new MutationObserver(tell).observe(mail, { childList: true })
    </script>";
    let site = Site::with(&(code("html", &server.address) + watch));
    let chromium = Chromium::start(&[]);
    chromium.open(&site.url("127.0.0.1", "page.html"));
    assert_eq!(site.told(), "sent");
    assert_eq!(server.status()["ledger"]["done"], 1);
}

/// The lines that send one JSON object without a line end, and close.
fn one_liners() -> Vec<String> {
    let lines = blocks("sh").into_iter().filter(|block| block.contains("9501"));
    lines.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn shell(line: &str, address: &str) -> Ran {
    Ran::of(Command::new("sh").args(["-c", &at(line, address)]))
}

#[test]
fn who_sends_and_closes_at_once_is_served_too() {
    let lines = one_liners();
    assert_eq!(lines.len(), 3);
    for line in lines {
        let mut server = server();
        assert_eq!(shell(&line, &server.address).exits(0).stdout, "success\n", "{line}");
        server.line_with("AsyncTask[0] Finish");
        assert_eq!(server.status()["ledger"]["done"], 1, "{line}");
    }
}

#[test]
fn who_finds_no_server_is_told_so() {
    installed();
    for line in one_liners() {
        let ran = shell(&line, NOBODY).exits(0);
        assert!(ran.stdout.starts_with("failure"), "{line}\n{ran:?}");
    }
}
