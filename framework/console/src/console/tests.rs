//! Tests of the console with commands that fail, panic, call others, and have options of their own.

use anyhow::{Context, Result, anyhow};
use clap::Args;

use super::{Console, Tester};
use crate::app::App;
use crate::command::{CommandEntry, CommandMeta, Execute, Exit, Registry};
use crate::output::Output;

/// Derives and implements a command.
macro_rules! command {
    ($name:literal $command:ident { $($field:tt)* } ($this:ident, $app:ident, $output:ident) $body:block) => {
        #[derive(Args, framework::Command)]
        #[command(name = $name)]
        struct $command { $($field)* }

        impl Execute for $command {
            async fn execute($this, $app: &App, $output: &mut Output) -> Result<()> $body
        }
    };
}

command!("test:fail" Fail {} (self, _app, _output) {
    Err(anyhow!("no such file")).context("reading mail.toml").context("sending the mail")
});

command!("test:refuse" Refuse {} (self, _app, _output) { Err(Exit::Refused.error("the queue is full")) });

command!("test:panic" Panic {} (self, _app, output) {
    output.line("before");
    std::future::ready(()).await;
    panic!("out of {}", "luck");
});

command!("test:call" Call { arguments: Vec<String> } (self, app, output) {
    let console = Console::running(app).context("no console")?;
    let called = console.call("test:say", self.arguments).await;
    output.line(format_args!("{:?} {:?} {:?}", called.exit, called.stdout, called.stderr));
    Ok(())
});

command!("test:say" Say { words: Vec<String> } (self, _app, output) {
    output.line(self.words.join(" "));
    Ok(())
});

command!("test:own" Own {
    #[arg(short, long)]
    number: Option<u8>,
    #[arg(long)]
    quiet: bool,
} (self, app, output) {
    output.line(format_args!("{:?} {} {:?}", self.number, self.quiet, output.verbosity()));
    let sure = app.input().confirm(output, "Sure?", false)?;
    output.line(sure);
    Ok(())
});

command!("test:runtimes" Runtimes {} (self, _app, output) {
    let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let spawned = workers.spawn(async { 3 }).await?;
    let blocked = tokio::task::spawn_blocking(|| tokio::runtime::Runtime::new().map(|own| own.block_on(async { 4 })));
    output.line(format_args!("{spawned} {}", blocked.await??));
    workers.shutdown_background();
    Ok(())
});

command!("test:root" Root {} (self, app, output) {
    output.line(app.config()?.root().display());
    Ok(())
});

/// Does something
///
/// In one
/// of these ways:
/// - the first
/// - the second
///
///     think test:ways one
#[derive(Args, framework::Command)]
#[command(name = "test:ways", before_help = "Before it.", after_help = "After it.")]
struct Ways {
    /// The way
    ///
    /// 1. one
    /// 2. two
    way: Option<String>,
}

impl Execute for Ways {
    async fn execute(self, _app: &App, _output: &mut Output) -> Result<()> {
        Ok(())
    }
}

#[test]
fn help_keeps_the_lines_of_lists_and_the_texts_around_it() {
    let help = run("help test:ways").stdout + &run("test:ways -h").stdout;
    for part in [
        "Before it.\n\nDoes something\n\nIn one of these ways:\n- the first\n- the second\n\n    think test:ways one\n",
        "1. one\n          2. two\n",
        "\n\nAfter it.\n",
    ] {
        assert!(help.contains(part), "no {part:?} in:\n{help}");
    }
}

fn run(line: &str) -> super::CommandOutput {
    Tester::new(Console::new()).run(line)
}

#[test]
fn console_prints_an_error_with_all_its_causes() {
    let said = "error: sending the mail\n  because: reading mail.toml\n  because: no such file\n";
    run("test:fail").assert_exit(Exit::Failed).assert_stdout_eq("").assert_stderr_contains(said);
}

#[test]
fn command_chooses_its_exit_code() {
    run("test:refuse").assert_exit(Exit::Refused).assert_stderr_contains("error: the queue is full\n");
}

#[test]
fn panic_is_an_error_that_names_its_place_and_keeps_the_output() {
    let called = run("test:panic");
    called
        .assert_exit(Exit::Failed)
        .assert_stdout_eq("before\n")
        .assert_stderr_contains("error: the command panicked at ");
    called.assert_stderr_contains("console/tests.rs:").assert_stderr_contains(": out of luck");
}

#[test]
fn command_calls_another_and_captures_its_output() {
    run("test:call 'a  b' c").assert_success().assert_stdout_eq("Success \"a  b c\\n\" \"\"\n");
    let called = run("test:call -- --bogus");
    called
        .assert_success()
        .assert_stdout_contains("Usage")
        .assert_stdout_contains("unexpected argument '--bogus'");
}

#[test]
fn command_may_build_runtimes_of_its_own() {
    run("test:runtimes").assert_success().assert_stdout_eq("3 4\n");
}

#[tokio::test]
async fn tester_works_in_an_asynchronous_test() {
    run("test:say hi").assert_success().assert_stdout_eq("hi\n");
    Console::new().call("test:say", ["ho"]).await.assert_success().assert_stdout_eq("ho\n");
}

#[test]
fn option_of_the_command_wins_over_the_global_one() {
    let tester = Tester::new(Console::new()).with_input("yes\n");
    tester.run("test:own -n 7").assert_success().assert_stdout_eq("Some(7) false Normal\ntrue\n");
    tester.run("test:own --quiet -v").assert_success().assert_stdout_contains("None true Verbose(1)");
    tester.run("-n -q test:own").assert_success().assert_stdout_eq("None false Quiet\nfalse\n");
    tester.run("test:own -q --no-interaction").assert_success().assert_stdout_eq("None false Quiet\nfalse\n");
    tester
        .run("test:own -h")
        .assert_success()
        .assert_stdout_contains("--number")
        .assert_stdout_contains("    --no-interaction")
        .assert_stdout_contains("-q  ");
}

#[test]
fn verbose_names_the_time_and_the_project_of_every_command() {
    let tester = Tester::new(Console::new()).root("/srv/shop");
    tester.run("test:root -v").assert_success().assert_stderr_contains("test:root took ");
    tester.run("test:root -v").assert_success().assert_stderr_contains(" in /srv/shop\n");
    tester.run("test:fail -v").assert_exit(Exit::Failed).assert_stderr_contains("test:fail took ");
    assert_eq!(tester.run("test:root").stderr, "");
}

#[test]
fn root_can_be_set() {
    Tester::new(Console::new())
        .root("/srv/shop")
        .run("test:root")
        .assert_success()
        .assert_stdout_eq("/srv/shop\n");
}

#[test]
fn name_and_version_are_the_programs_own() {
    let tester = Tester::new(Console::new().name("shop").version("7.1"));
    tester.run("-V").assert_success().assert_stdout_eq("shop 7.1\n");
    tester.run("test:say -h").assert_success().assert_stdout_contains("shop test:say");
}

#[test]
fn verbosity_is_the_sum_of_all_v_options() {
    run("-v test:own -vv -n 1").assert_success().assert_stdout_contains("Verbose(3)");
    run("-vvvvv test:own").assert_success().assert_stdout_contains("Verbose(3)");
}

struct ByHand;

impl CommandMeta for ByHand {
    const ENTRY: &'static CommandEntry = {
        static ENTRY: CommandEntry = CommandEntry::of::<Say, _>("hand:say", "shop", "shop/say.rs", 1);
        &ENTRY
    };
}

struct Twin;

impl CommandMeta for Twin {
    const ENTRY: &'static CommandEntry = {
        static ENTRY: CommandEntry = CommandEntry::of::<Say, _>("test:say", "shop", "shop/say.rs", 1);
        &ENTRY
    };
}

#[test]
fn command_can_be_added_by_hand_even_if_it_registered_itself() {
    let console = Console::new().command::<ByHand>().command::<Say>();
    Tester::new(console).run("hand:say hi").assert_success().assert_stdout_eq("hi\n");
    assert!(Registry::collect().find("hand:say").is_err());
}

#[test]
fn duplicate_name_is_a_warning_everywhere_and_an_error_of_that_name() {
    let tester = Tester::new(Console::new().command::<Twin>());
    let places = "console/tests.rs:";
    tester
        .run("-n test:own")
        .assert_success()
        .assert_stderr_contains("warning: two commands are named \"test:say\": ")
        .assert_stderr_contains(places)
        .assert_stderr_contains("shop/say.rs:1; rename one of them");
    tester
        .run("test:say hi")
        .assert_exit(Exit::Failed)
        .assert_stderr_contains("error: two commands are named");
}

#[test]
fn value_that_begins_with_a_hyphen_needs_no_escape() {
    run("test:say a '-5 degrees' b").assert_success().assert_stdout_eq("a -5 degrees b\n");
    run("test:say -x").assert_exit(Exit::Usage).assert_stderr_contains("unexpected argument '-x'");
}
