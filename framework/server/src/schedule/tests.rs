//! Schedules of the file and of the handlers, and their due times.

use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use anyhow::Result;
use framework_console::config::Config;
use framework_macros::Task;
use framework_protocol::task::{Attempt, Handle, Handlers, RegisteredFunction, Registration};
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Serialize, Deserialize, Task)]
#[serde(deny_unknown_fields)]
#[task(name = "test_greet", queue = "post")]
struct Greet {
    whom: String,
}

impl Handle for Greet {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

/// Its arguments can only come from the file.
#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_remind", cron = "0 12 * * *")]
struct Remind {
    whom: String,
}

impl Handle for Remind {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(
    name = "test_sweep",
    cron = "0 4 * * *",
    timezone = "Europe/Berlin",
    missed = "skip",
    overlap = "skip"
)]
struct Sweep;

impl Handle for Sweep {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

const REMIND: &str = "\n[test_remind]\nargs.whom = \"Ada\"\n";

/// Collects the schedules of a config/schedule.toml with this text, beside the arguments that a handler
/// needs.
fn collect(file: &str) -> Result<Schedules> {
    collect_with(&format!("{file}{REMIND}"), &[])
}

fn collect_with(file: &str, variables: &[(&str, &str)]) -> Result<Schedules> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("think-schedule-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let root = env::temp_dir().join(name);
    fs::create_dir_all(root.join("config")).unwrap();
    fs::write(root.join("config/schedule.toml"), file).unwrap();
    let collected =
        Schedules::collect(&Config::at(&root, variables.iter().copied()), &Handlers::collect().unwrap());
    fs::remove_dir_all(&root).unwrap();
    collected
}

fn problems(file: &str) -> Vec<String> {
    collect(file).unwrap_err().to_string().lines().map(str::to_owned).collect()
}

fn schedule(missed: &str) -> Schedule {
    let file = format!("[daily]\nfunction = \"test_sweep\"\ncron = \"0 9 * * *\"\nmissed = \"{missed}\"\n");
    let mut schedules = collect(&file).unwrap().all;
    schedules.swap_remove(0)
}

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const NINE_MS: u64 = 9 * 60 * 60 * 1_000;

#[test]
fn collect_makes_a_schedule_of_each_table() {
    let schedules = collect(
        "[morning]\nfunction = \"test_greet\"\nargs = { whom = \"Ada\" }\ncron = \"0 9 * * mon-fri\"\n\
         timezone = \"Asia/Shanghai\"\nmissed = \"all\"\n",
    )
    .unwrap();
    let morning = schedules.find("morning").unwrap();
    assert_eq!((&*morning.function, &morning.args[..]), ("test_greet", &b"{\"whom\":\"Ada\"}"[..]));
    assert_eq!(
        (&*morning.queue, morning.missed, morning.overlap),
        ("post", MissedRunPolicy::All, OverlapPolicy::Allow)
    );
    assert_eq!((morning.cron.expression(), morning.cron.timezone()), ("0 9 * * mon-fri", "Asia/Shanghai"));
    let refusal = schedules.find("mourning").unwrap_err();
    assert_eq!((refusal.code, refusal.suggestion.as_deref()), (ErrorCode::UnknownTask, Some("morning")));
}

#[test]
fn collect_makes_a_schedule_of_a_handler_with_a_cron() {
    let schedules = collect("").unwrap();
    let sweep = schedules.find("test_sweep").unwrap();
    assert_eq!((sweep.cron.expression(), sweep.cron.timezone()), ("0 4 * * *", "Europe/Berlin"));
    assert_eq!(
        (sweep.missed, sweep.overlap, &sweep.args[..]),
        (MissedRunPolicy::Skip, OverlapPolicy::Skip, &b"null"[..])
    );
    assert!(sweep.origin.to_string().contains("schedule/tests.rs:"), "{}", sweep.origin);
}

#[test]
fn table_overrides_the_handler_of_its_name() {
    let schedules = collect("[test_sweep]\ncron = \"0 5 * * *\"\nqueue = \"post\"\n").unwrap();
    let sweep = schedules.find("test_sweep").unwrap();
    assert_eq!((sweep.cron.expression(), sweep.cron.timezone()), ("0 5 * * *", "Europe/Berlin"));
    assert_eq!((&*sweep.queue, sweep.missed), ("post", MissedRunPolicy::Skip));

    let schedules = collect("[test_sweep]\nenabled = false\n").unwrap();
    assert_eq!(schedules.find("test_sweep").unwrap().next(0), None);
}

#[test]
fn table_error_names_its_line() {
    let head = "function = \"test_greet\"\nargs = { whom = \"Ada\" }";
    for (file, problem) in [
        (
            format!("[a]\n{head}\ncron = \"0 25 * * *\""),
            "config/schedule.toml:4: `a` cannot have this cron: the hour \"25\" of \"0 25 * * *\" is not made of",
        ),
        (
            format!("[a]\n{head}\ncroon = \"0 9 * * *\""),
            "config/schedule.toml:4: `a` has no setting `croon`; did you mean `cron`?",
        ),
        (
            format!("[a]\n{head}\ncron = \"0 9 * * *\"\ntimezone = \"Asia/Shangai\""),
            "config/schedule.toml:5: `a` cannot have this timezone: there is no time zone \"Asia/Shangai\"; did",
        ),
        (
            format!("[a]\n{head}\nmissed = \"never\""),
            "config/schedule.toml:4: `a` must be one of `skip`, `once`, `all`, not `never`",
        ),
        (format!("\n[a]\n{head}"), "config/schedule.toml:2: `a` has no cron: write when it runs"),
        (
            "[a]\ncron = \"0 9 * * *\"".to_owned(),
            "config/schedule.toml:1: `a` makes no task: There is no function \"a\". Write which one it runs",
        ),
        (
            "[a]\nfunction = \"test_gret\"\ncron = \"0 9 * * *\"".to_owned(),
            "config/schedule.toml:1: `a` makes no task: There is no function \"test_gret\". Did you mean \"test_greet\"?",
        ),
        (
            "[a]\nfunction = \"test_greet\"\nargs = { who = \"Ada\" }\ncron = \"0 9 * * *\"".to_owned(),
            "config/schedule.toml:1: `a` makes no task: The arguments do not fit the function \"test_greet\": \
             unknown field `who`",
        ),
        (
            format!("[a]\n{head}\nqueue = \"pots\"\ncron = \"0 9 * * *\""),
            "config/schedule.toml:1: `a` makes no task: There is no queue \"pots\". Did you mean \"post\"?",
        ),
        (
            format!("{head}\n"),
            "config/schedule.toml:1: `function` belongs to no schedule: write it below a line such as \
             `[name_of_the_schedule]`",
        ),
        ("[\"A b\"]\n".to_owned(), "config/schedule.toml:1: \"A b\" is not a valid name for a schedule"),
        ("[a]\nargs = [1, inf]\n".to_owned(), "config/schedule.toml:2: `a` has a number in its args"),
    ] {
        let problems = problems(&file);
        assert!(problems[0].starts_with(problem), "{problem}\n{problems:#?}");
    }
}

#[test]
fn schedule_of_a_function_that_nobody_knows_yet_makes_no_task_before_it_is_registered() {
    let file = "[a]\nfunction = \"picture\"\nargs = { width = 1 }\ncron = \"@daily\"\n";
    let schedules = collect(file).unwrap();
    assert!(schedules.unknown()[0].contains("\"a\"") && schedules.unknown()[0].contains("\"picture\""));
    let schedule = schedules.find("a").unwrap();
    let handlers = Handlers::collect().unwrap();
    assert_eq!(schedule.now(&handlers).err().unwrap().code, ErrorCode::UnknownFunction);
    let registration =
        Registration { name: "picture".into(), queue: Some("images".into()), ..Registration::default() };
    handlers.register(RegisteredFunction::new(registration, Box::new(|_| Ok(()))));
    let task = schedule.now(&handlers).unwrap();
    assert_eq!((&*task.queue, &task.args[..]), ("images", &b"{\"width\":1}"[..]));
}

#[test]
fn handler_without_the_arguments_of_its_schedule_is_named_with_its_line() {
    let error = collect_with("", &[]).unwrap_err().to_string();
    let says = ": the schedule of \"test_remind\" makes no task: The arguments do not fit";
    assert!(error.contains("schedule/tests.rs:") && error.contains(says), "{error}");
    let schedules = collect("").unwrap();
    assert_eq!(&schedules.find("test_remind").unwrap().args[..], b"{\"whom\":\"Ada\"}");
}

#[test]
fn schedule_variable_is_refused() {
    let error = collect_with(REMIND, &[("THINK_SCHEDULE_A", "{}")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "THINK_SCHEDULE_A: a schedule is not set by a variable: write it into config/schedule.toml"
    );
}

#[test]
fn date_in_the_arguments_becomes_a_string() {
    let schedules =
        collect("[a]\nfunction = \"test_greet\"\nargs.whom = 2026-12-01\ncron = \"@daily\"\n").unwrap();
    assert_eq!(&schedules.find("a").unwrap().args[..], b"{\"whom\":\"2026-12-01\"}");
}

#[test]
fn due_contains_a_run_on_time_under_every_policy() {
    for missed in ["skip", "once", "all"] {
        let schedule = schedule(missed);
        assert_eq!(schedule.due(0, NINE_MS - 1), [0; 0], "{missed}");
        assert_eq!(schedule.due(0, NINE_MS), [NINE_MS], "{missed}");
        assert_eq!(schedule.due(0, NINE_MS + 60_000), [NINE_MS], "{missed}");
        assert_eq!(schedule.due(NINE_MS, NINE_MS + 60_000), [0; 0], "{missed}");
    }
}

#[test]
fn due_applies_the_missed_policy() {
    let now_ms = NINE_MS + 2 * DAY_MS + 60_001;
    assert_eq!(schedule("skip").due(0, now_ms), [0; 0]);
    assert_eq!(schedule("once").due(0, now_ms), [NINE_MS + 2 * DAY_MS]);
    assert_eq!(schedule("all").due(0, now_ms), [NINE_MS, NINE_MS + DAY_MS, NINE_MS + 2 * DAY_MS]);
}

#[test]
fn due_is_limited_to_the_last_thousand_missed_runs() {
    let due = schedule("all").due(0, 2_000 * DAY_MS);
    assert_eq!(due.len(), MISSED_MAX);
    assert_eq!(due.last(), Some(&(1_999 * DAY_MS + NINE_MS)));
}

#[test]
fn key_contains_the_name_and_the_time() {
    let schedule = schedule("once");
    let handlers = Handlers::collect().unwrap();
    let task = schedule.at(&handlers, DAY_MS + NINE_MS, None).unwrap();
    assert_eq!(task.extra.unwrap().key.as_deref(), Some("schedule/daily/1970-01-02T09:00:00Z"));
    assert!(schedule.now(&handlers).unwrap().extra.is_none());
}
