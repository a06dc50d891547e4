//! What the program does, in memory.

use std::time::Duration;

use framework::console::Tester;
use framework::server::TestServer;

#[test]
fn hello_greets_by_name() {
    Tester::new(app::console())
        .run("hello Ada")
        .assert_success()
        .assert_stdout_eq("Hello, Ada!\n");
}

#[test]
fn list_has_the_commands_of_the_server() {
    Tester::new(app::console())
        .run("list task")
        .assert_success()
        .assert_stdout_contains("task:start");
}

#[test]
fn echo_gives_back_its_text() {
    let server = TestServer::new();
    let id = server
        .request(r#"{"function":"echo","args":"hi","delay":"10m"}"#)
        .unwrap();
    assert_eq!(server.run_due(), 0);
    server.advance(Duration::from_secs(600));
    assert_eq!(server.result::<String>(id), "hi -> OK");
}
