//! What the program does, in memory.

use framework::console::Tester;

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
