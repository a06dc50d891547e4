//! Tests of listeners, of isolated and deprecated commands, and of what a command traces.

use std::path::PathBuf;
use std::process::id;

use anyhow::{Result, anyhow};
use clap::Args;

use crate::app::App;
use crate::command::{CommandEntry, CommandListener, Execute, Exit};
use crate::console::{CommandOutput, Console, Tester};
use crate::input::Input;
use crate::output::{ColorChoice, Output, Verbosity};

/// Listens to the commands of this file alone.
struct Listener(i32);

impl Listener {
    fn note(&self, command: &CommandEntry, output: &mut Output, event: &str) {
        if command.name.starts_with("run:") {
            output.note(format_args!("{event} {} {}", self.0, command.name));
        }
    }
}

impl CommandListener for Listener {
    fn order(&self) -> i32 {
        self.0
    }

    fn before(&self, command: &CommandEntry, _app: &App, output: &mut Output) -> Result<()> {
        self.note(command, output, "before");
        if command.name == "run:forbidden" { Err(Exit::Refused.error("not today")) } else { Ok(()) }
    }

    fn error(&self, command: &CommandEntry, error: &anyhow::Error, _app: &App, output: &mut Output) {
        self.note(command, output, &format!("error \"{error}\""));
    }

    fn after(&self, command: &CommandEntry, exit: Exit, _app: &App, output: &mut Output) {
        self.note(command, output, &format!("after {exit:?}"));
    }
}

crate::listen!(Listener(2));
crate::listen!(Listener(1));

/// Prints a word
#[derive(Args, framework::Command)]
#[command(name = "run:plain")]
struct Plain;

impl Execute for Plain {
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        tracing::info!(number = 7, "traced \u{1b}");
        tracing::debug!("in detail");
        output.line("plain");
        Ok(())
    }
}

/// Must not run
#[derive(Args, framework::Command)]
#[command(name = "run:forbidden")]
struct Forbidden;

impl Execute for Forbidden {
    async fn execute(self, _app: &App, _output: &mut Output) -> Result<()> {
        Err(anyhow!("it ran"))
    }
}

/// Runs itself again
#[derive(Args, framework::Command)]
#[command(name = "run:isolated")]
struct Isolated;

impl Execute for Isolated {
    const ISOLATED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let console = Console::running(app).ok_or_else(|| anyhow!("no console"))?;
        let second = Box::pin(console.call("run:isolated", ["-q"])).await;
        output.line(format_args!("{:?} {}", second.exit, second.stderr));
        Ok(())
    }
}

/// Prints nothing
#[derive(Args, framework::Command)]
#[command(name = "run:old")]
struct Old;

impl Execute for Old {
    const DEPRECATED: Option<&'static str> = Some("use `run:plain`");

    async fn execute(self, _app: &App, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}

/// Asks for what is missing
#[derive(Args, framework::Command)]
#[command(name = "run:asks")]
struct Asks {
    /// Whose
    #[ask]
    name: String,
    #[arg(short, long)]
    #[ask("How many?")]
    number: u8,
    #[arg(long, value_parser = ["red", "green"])]
    #[ask]
    color: String,
}

impl Execute for Asks {
    async fn execute(self, _app: &App, output: &mut Output) -> Result<()> {
        output.line(format_args!("{} {} {}", self.name, self.number, self.color));
        Ok(())
    }
}

/// A tester in a project of its own, which is a folder below that of temporary files.
fn project(name: &str) -> (Tester, PathBuf) {
    let root = std::env::temp_dir().join(format!("console-run-{}-{name}", id()));
    std::fs::create_dir_all(root.join("config")).unwrap();
    (Tester::new(Console::new()).root(&root), root)
}

fn run(line: &str) -> CommandOutput {
    Tester::new(Console::new()).run(line)
}

#[test]
fn listeners_are_called_in_order_around_a_command() {
    let stderr = run("run:plain").stderr;
    let events =
        "before 1 run:plain\nbefore 2 run:plain\nafter Success 1 run:plain\nafter Success 2 run:plain\n";
    assert_eq!(stderr, events);
}

#[test]
fn listener_can_keep_a_command_from_running() {
    let ran = run("run:forbidden");
    ran.assert_exit(Exit::Refused);
    let events = "before 1 run:forbidden\nerror \"not today\" 1 run:forbidden\nerror \"not today\" 2 run:forbidden\n\
                  after Refused 1 run:forbidden\nafter Refused 2 run:forbidden\nerror: not today\n";
    assert_eq!(ran.stderr, events);
}

#[test]
fn isolated_command_runs_once_at_a_time() {
    let (tester, root) = project("isolated");
    let ran = tester.run("run:isolated -q");
    let message =
        format!("AlreadyRunning error: run:isolated runs already as process {}, and only one", id());
    ran.assert_success().assert_stdout_contains(&message);
    tester.run("run:isolated -q").assert_success();
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn deprecated_command_runs_and_names_the_other_one() {
    let ran = run("run:old");
    ran.assert_success().assert_stderr_contains("warning: run:old is deprecated: use `run:plain`\n");
    run("run:old -h").assert_stdout_contains("(deprecated: use `run:plain`)");
}

#[test]
fn verbosity_decides_what_is_shown_of_the_traces() {
    assert!(!run("run:plain").stderr.contains("traced"));
    let once = run("run:plain -v").stderr;
    assert!(once.contains("INFO tests: traced \\u{1b} number=7\n") && !once.contains("in detail"), "{once}");
    assert!(run("run:plain -vv").stderr.contains("DEBUG tests: in detail\n"));
}

#[test]
fn missing_arguments_are_asked_for_until_they_fit() {
    let ask = |line: &str, answers: &str| Tester::new(Console::new()).with_input(answers).run(line);
    let ran = ask("run:asks", "-Ada\nmany\n3\nblue\ngreen\n");
    ran.assert_success().assert_stdout_eq("-Ada 3 green\n");
    ran.assert_stderr_contains("Whose: How many? warning: invalid value 'many' for '--number <NUMBER>'");
    ran.assert_stderr_contains("warning: \"blue\" is none of them: answer with a number from 1 to 2");
    ask("run:asks Bob --color red", "5\n").assert_success().assert_stdout_eq("Bob 5 red\n");
    ask("run:asks", "")
        .assert_exit(Exit::Usage)
        .assert_stderr_contains("required arguments were not provided");
    ask("run:asks Bob --bogus", "5\n").assert_exit(Exit::Usage).assert_stderr_contains("--bogus");
}

#[test]
fn interrupted_question_ends_with_its_exit_code_and_no_error() {
    let error: anyhow::Error = crate::input::InputError::Interrupted.into();
    assert_eq!(Exit::of(&error), Exit::Interrupted);
    let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
    assert!(Input::none().number::<u8>(&mut output, "How many?", None).is_err());
}
