//! The README's clients in other languages, each run by its own interpreter or browser.

use std::process::Command;

use crate::harness::chromium::Chromium;
use crate::harness::readme::blocks;
use crate::harness::server::Server;
use crate::harness::site::Site;
use crate::harness::{Ran, installed};

/// An address on which nothing listens: ports below 1024 are not assigned to clients.
const NOBODY: &str = "127.0.0.1:1";

fn server() -> Server {
    installed();
    Server::with_settings("default_function = \"send_mail\"\n")
}

/// The only block of this language, for a server at this address.
fn code(language: &str, address: &str) -> String {
    let [block] = blocks(language).try_into().expect("the README has one client in each language");
    at(&block, address)
}

/// The code with the port of this address.
fn at(code: &str, address: &str) -> String {
    let (_, port) = address.rsplit_once(':').unwrap();
    assert!(code.contains("9501"), "{code}");
    code.replace("9501", port)
}

/// Runs a client that sends a mail and waits for its end, and one with an invalid address.
fn check_client(language: &str, interpreter: &str) {
    let server = server();
    let file = server.project.path("client");
    std::fs::write(&file, code(language, &server.address)).unwrap();
    let ran = Ran::of(Command::new(interpreter).arg(&file)).exits(0);
    assert_eq!(ran.stdout, "task 0\ndone\n", "{ran:?}");
    assert_eq!(server.status()["ledger"]["done"], 1);
    std::fs::write(&file, code(language, &server.address).replace("ada@example.com", "nobody")).unwrap();
    let ran = Ran::of(Command::new(interpreter).arg(&file)).exits(0);
    assert!(ran.stdout.contains("\"nobody\" is not a mail address"), "{ran:?}");
}

#[test]
fn php_client_sends_a_mail() {
    check_client("php", "php");
}

#[test]
fn python_client_sends_a_mail() {
    check_client("python", "python3");
}

#[test]
fn javascript_client_sends_a_mail() {
    check_client("javascript", "node");
}

#[test]
fn html_page_shows_when_the_mail_is_sent() {
    let server = server();
    let watch = "<script>
        const mail = document.getElementById('mail')
        const report = () => fetch('/report', { method: 'POST', body: JSON.stringify(mail.textContent) })
        new MutationObserver(report).observe(mail, { childList: true })
    </script>";
    let site = Site::with(&(code("html", &server.address) + watch));
    let chromium = Chromium::start(&[]);
    chromium.open(&site.url("127.0.0.1", "page.html"));
    assert_eq!(site.report(), "sent");
    assert_eq!(server.status()["ledger"]["done"], 1);
}

/// The lines that send one JSON object without a line end, and close.
fn one_liners() -> Vec<String> {
    let is_client = |block: &String| block.contains("9501") && !block.contains("./think");
    let lines = blocks("sh").into_iter().filter(is_client);
    lines.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn shell(line: &str, address: &str) -> Ran {
    Ran::of(Command::new("sh").args(["-c", &at(line, address)]))
}

#[test]
fn shell_one_liners_that_send_and_close_are_served() {
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
fn shell_one_liners_report_a_missing_server() {
    installed();
    for line in one_liners() {
        let ran = shell(&line, NOBODY).exits(0);
        assert!(ran.stdout.starts_with("failure"), "{line}\n{ran:?}");
    }
}
