//! What commands ask, on a terminal and elsewhere.

use std::io::Write;
use std::process::Stdio;

use rustix::process::Signal;

use crate::harness::pty::Dialogue;
use crate::harness::{Project, Ran};

const ENTER: &str = "\r";
const DOWN: &str = "\x1b[B";
const CTRL_C: &str = "\x03";

#[test]
fn questions_are_answered_at_the_terminal() {
    let project = Project::new();
    let mut dialogue = Dialogue::run_on(80, &project.command(), &["demo:questions"]);
    dialogue.answer("Name of the report?", &format!("日报{ENTER}"));
    dialogue.answer("Password?", &format!("geheim{ENTER}"));
    dialogue.answer("Whom to send it to?", &format!("nobody{ENTER}"));
    dialogue.answer("an address has an @ in it", "");
    dialogue.answer("nobody", &format!("@example.com{ENTER}"));
    dialogue.answer("How many copies?", &format!("many{ENTER}"));
    dialogue.answer("\"many\" does not fit: only digits", "");
    dialogue.answer("many", &format!("\x7f\x7f\x7f\x7f3{ENTER}"));
    dialogue.answer("Which queue?", "");
    dialogue.answer("typing searches", &format!("rep{ENTER}"));
    dialogue.answer("Which others?", "");
    dialogue.answer("typing searches", &format!(" {DOWN} {ENTER}"));
    dialogue.answer("Which file?", &format!("conf\t{ENTER}"));
    dialogue.answer("A new code?", &format!("1234{ENTER}"));
    dialogue.answer("Again:", &format!("1234{ENTER}"));
    dialogue.answer("Send it?", &format!("y{ENTER}"));
    dialogue.answer("secrets of 6 and 4 characters, sure: true", "");
    assert_eq!(dialogue.exit_code(), Some(0));
    let shown = dialogue.shown();
    assert!(shown.contains("日报 to nobody@example.com, 3 times, from config/"), "{shown}");
    assert!(shown.contains("queues reports and [\"mail\", \"images\"]"), "{shown}");
    assert!(!shown.contains("geheim") && !shown.contains("1234"), "{shown}");
    assert!(dialogue.is_clean());
}

#[test]
fn interrupt_in_a_prompt_exits_130_and_leaves_a_clean_terminal() {
    let project = Project::new();
    let begun = ["demo:questions", "report", "--password=x"];
    let questions =
        ["Whom to send it to?", "How many copies?", "Which queue?", "Which others?", "Which file?"];
    for columns in [40, 120] {
        for last in 0..questions.len() {
            let mut dialogue = Dialogue::run_on(columns, &project.command(), &begun);
            questions[..last].iter().for_each(|question| dialogue.answer(question, ENTER));
            dialogue.answer(questions[last], CTRL_C);
            assert_eq!(dialogue.exit_code(), Some(130), "{}", dialogue.shown());
            assert!(dialogue.is_clean(), "{:?}", dialogue.shown());
        }
    }
    let mut dialogue = Dialogue::run_on(80, &project.command(), &["demo:questions", "report"]);
    dialogue.answer("Password?", CTRL_C);
    assert_eq!(dialogue.exit_code(), Some(130));
}

#[test]
fn signal_in_a_prompt_ends_the_program_and_leaves_a_clean_terminal() {
    let project = Project::new();
    for arguments in [
        &["demo:questions"][..],
        &["demo:questions", "report"],
        &["demo:questions", "report", "--password=x"],
    ] {
        for signal in [Signal::TERM, Signal::HUP] {
            let mut dialogue = Dialogue::run_on(80, &project.command(), arguments);
            dialogue.answer("?", "");
            dialogue.kill(signal);
            assert_eq!(dialogue.signal(), Some(signal.as_raw()), "{}", dialogue.shown());
            assert!(dialogue.is_clean(), "{:?}", dialogue.shown());
        }
    }
}

#[test]
fn missing_argument_is_asked_for_at_the_terminal() {
    let project = Project::new();
    let mut dialogue = Dialogue::run_on(40, &project.command(), &["demo:hello", "--times", "2"]);
    dialogue.answer("Whom to greet:", &format!("-Ada{ENTER}"));
    dialogue.answer("Hello, -Ada!\r\nHello, -Ada!", "");
    assert_eq!(dialogue.exit_code(), Some(0));
}

#[test]
fn missing_argument_is_the_usual_error_without_anybody_to_ask() {
    let project = Project::new();
    let missing = "the following required arguments were not provided:\n  <NAME>";
    assert!(project.think("demo:hello").exits(2).stderr.contains(missing));
    let mut ci = project.command();
    ci.env("CI", "true");
    for (command, arguments) in [(project.command(), ["demo:hello", "-n"]), (ci, ["demo:hello", "--times=2"])]
    {
        let mut dialogue = Dialogue::run_on(80, &command, &arguments);
        assert_eq!(dialogue.exit_code(), Some(2), "{}", dialogue.shown());
        dialogue.answer("<NAME>", "");
    }
}

#[test]
fn answers_may_be_piped() {
    let project = Project::new();
    let mut command = project.command();
    command.args(["demo:questions", "report", "--password", "x"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let answers = "nobody\nbob@example.com\n2\nimages\n1,reports\nfile.txt\nab\nab\nyes\n";
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let ran = Ran::finish(child).exits(0);
    assert!(ran.stderr.contains("warning: an address has an @ in it\n"), "{}", ran.stderr);
    let wanted = "report to bob@example.com, 2 times, from file.txt\nqueues images and [\"mail\", \"reports\"]\n\
                  secrets of 1 and 2 characters, sure: true\n";
    assert_eq!(ran.stdout, wanted);
    let defaults = project.think("demo:questions report --password x -n").exits(0).stdout;
    let wanted = "report to ada@example.com, 1 times, from report.txt\nqueues mail and []\n";
    assert!(defaults.starts_with(wanted), "{defaults}");
}
