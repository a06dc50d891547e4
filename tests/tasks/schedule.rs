//! Schedules: tasks that are made by the clock.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::server::Server;
use crate::harness::{Project, Ran};

/// An address on which nothing listens.
const NOBODY: &str = "127.0.0.1:1";

/// A project with these schedules.
fn project(schedules: &str) -> Project {
    let project = Project::new();
    project.write("config/schedule.toml", schedules);
    project
}

const EACH_SECOND: &str =
    "[tick]\nfunction = \"echo\"\nargs = \"tick\"\ncron = \"* * * * * *\"\nmissed = \"all\"\n";
const EACH_YEAR: &str =
    "[rare]\nfunction = \"echo\"\nargs = \"new year\"\ncron = \"@yearly\"\ntimezone = \"Asia/Shanghai\"\n";

/// The line of the server for each task of `tick`, before its id.
const TASK: &str = "schedule tick: task ";
const DAY: u32 = 24 * 60 * 60;

/// The first time in a text, in seconds within its day.
fn time_of(text: &str) -> u32 {
    let text = text.split_once(TASK).map_or(text, |(_, rest)| rest);
    let time = text.split_once('T').unwrap().1;
    let part = |from: usize| time[from..from + 2].parse::<u32>().unwrap();
    part(0) * 3600 + part(3) * 60 + part(6)
}

#[test]
fn schedule_of_each_second_makes_a_task_each_second() {
    let mut server = Server::with(project(EACH_SECOND), "");
    let times: Vec<_> = (0..3).map(|_| time_of(&server.line_with(TASK))).collect();
    let after = |seconds: u32| (times[0] + seconds) % DAY;
    assert_eq!(times, [times[0], after(1), after(2)]);
    let listed = server.think(&["schedule:list", "--json"]).exits(0).json();
    assert!(listed[0]["last_task_id"].is_u64() && listed[0]["last"].is_string(), "{listed}");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn schedule_runs_once_per_second_through_kills() {
    let mut server = Server::with(project(EACH_SECOND), "");
    let first = time_of(&server.line_with(TASK));
    for _ in 0..3 {
        server.line_with(TASK);
        server.signal(Signal::KILL);
        server = server.again("");
    }
    server.line_with(TASK);
    server.think(&["schedule:pause", "tick"]).exits(0);
    let listed = server.think(&["schedule:list", "--json"]).exits(0).json();
    let last = time_of(listed[0]["last"].as_str().unwrap());
    let seconds = (last + DAY - first) % DAY + 1;
    assert_eq!(server.status()["ledger"]["accepted"], seconds, "from {first} to {last}");
}

#[test]
fn schedule_pause_survives_a_kill() {
    let server = Server::with(project(EACH_SECOND), "");
    server.think(&["schedule:pause", "tick"]).exits(0);
    server.signal(Signal::KILL);
    let mut server = server.again("");
    let paused = server.think(&["schedule:list", "--json"]).exits(0).json();
    assert_eq!(paused[0]["paused"], true);
    server.think(&["schedule:resume", "tick"]).exits(0);
    server.line_with(TASK);
}

#[test]
fn schedule_list_works_without_a_server() {
    let project = project(EACH_YEAR);
    let list = ["schedule:list", "--next", "2", "--address", NOBODY];
    let ran = Ran::of(project.command().args(list)).exits(0);
    let rows: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..4], ["rare", "echo", "@yearly", "Asia/Shanghai"], "{ran:?}");
    assert!(rows[2][0].ends_with("-01-01T00:00:00+08:00"), "{ran:?}");
    assert!(ran.stderr.contains("No server is running"), "{ran:?}");

    let listed = Ran::of(project.command().args(list).arg("--json")).exits(0).json();
    let rare = &listed[0];
    assert_eq!((&rare["name"], &rare["args"]), (&"rare".into(), &"new year".into()));
    assert_eq!((&rare["paused"], &rare["last"]), (&Value::Null, &Value::Null));
    assert_eq!(rare["next"].as_array().map(Vec::len), Some(2));
}

#[test]
fn schedule_list_without_schedules_succeeds() {
    let ran = Ran::of(Project::new().command().args(["schedule:list", "--address", NOBODY])).exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.contains("No schedules")), ("", true));
}

#[test]
fn schedule_run_works_while_paused() {
    let server = Server::with(project(EACH_YEAR), "");
    server.think(&["schedule:pause", "rare"]).exits(0);
    let paused = server.think(&["schedule:list", "--json"]).exits(0).json();
    assert_eq!((&paused[0]["paused"], &paused[0]["next"]), (&true.into(), &Value::Array(Vec::new())));

    let ran = server.think(&["schedule:run", "rare"]).exits(0);
    let id: u64 = ran.stdout.trim().parse().unwrap();
    let watched = server.think(&["task:watch", &id.to_string()]).exits(0);
    assert!(watched.stdout.contains("new year -> OK"), "{watched:?}");

    server.think(&["schedule:resume", "rare"]).exits(0);
    let resumed = server.think(&["schedule:list", "--json"]).exits(0).json();
    assert_eq!((&resumed[0]["paused"], &resumed[0]["last"]), (&false.into(), &Value::Null));
}

#[test]
fn unknown_schedule_suggests_the_nearest() {
    let server = Server::with(project(EACH_YEAR), "");
    for command in ["schedule:run", "schedule:pause", "schedule:resume"] {
        let ran = server.think(&[command, "rarre"]).exits(5);
        assert!(ran.stderr.contains("There is no schedule \"rarre\". Did you mean \"rare\"?"), "{ran:?}");
    }
    let ran = Ran::of(Project::new().command().args(["schedule:run", "rare", "--address", NOBODY]));
    ran.exits(3);
}

#[test]
fn invalid_schedule_prevents_the_start() {
    for (file, says) in [
        (
            "[tick]\nfunction = \"echo\"\ncron = \"0 25 * * *\"\n",
            "config/schedule.toml:3: `tick` cannot have this cron",
        ),
        (
            "\n[tick]\nfunction = \"ehco\"\ncron = \"@daily\"\n",
            "config/schedule.toml:2: `tick` makes no task",
        ),
        (
            "[mail]\nfunction = \"send_mail\"\ncron = \"@daily\"\nargs = { to = \"ada@example.com\", tittle = \"x\" }\n",
            "unknown field `tittle`",
        ),
    ] {
        let project = project(file);
        for command in ["task:start --port 0", "schedule:list"] {
            let ran = project.think(command).exits(1);
            assert!(ran.stderr.contains(says), "{command}: {ran:?}");
        }
    }
}

#[test]
fn schedule_list_says_what_the_running_server_does_not_run_yet() {
    let file = |hour: u32, more: &str| {
        format!(
            "[kept]\nfunction = \"echo\"\nargs = \"x\"\ncron = \"@yearly\"\n\
            [changed]\nfunction = \"echo\"\nargs = \"x\"\ncron = \"0 {hour} * * *\"\n\
            [{more}]\nfunction = \"echo\"\nargs = \"x\"\ncron = \"@monthly\"\n"
        )
    };
    let server = Server::with(project(&file(9, "removed")), "");
    let listed = server.think(&["schedule:list", "--json"]).exits(0).json();
    assert!(listed.as_array().unwrap().iter().all(|schedule| schedule["loaded"] == true), "{listed}");
    server.project.write("config/schedule.toml", &file(10, "new"));
    let listed = server.think(&["schedule:list", "--json"]).exits(0).json();
    let find =
        |name: &str| listed.as_array().unwrap().iter().find(|schedule| schedule["name"] == name).unwrap();
    assert_eq!((&find("kept")["loaded"], find("kept")["next"].as_array().unwrap().len()), (&true.into(), 3));
    assert_eq!((&find("new")["loaded"], &find("new")["next"]), (&false.into(), &serde_json::json!([])));
    let changed = find("changed");
    let next = changed["next"][0].as_str().unwrap();
    assert!(changed["loaded"] == false && next.contains("T09:00:00"), "the server's own time: {changed}");
    assert_eq!(find("removed")["loaded"], false);
    let shown = server.think(&["schedule:list"]).exits(0);
    assert!(shown.stdout.contains("changed") && shown.stderr.contains("task:reload"), "{shown:?}");
}

/// A time zone file of one offset, nine hours before UTC.
fn zone_file() -> Vec<u8> {
    let block = |counts: [u32; 6]| {
        let counts = counts.into_iter().flat_map(u32::to_be_bytes);
        b"TZif2"
            .iter()
            .copied()
            .chain([0; 15])
            .chain(counts)
            .chain([0, 0, 0x7e, 0x90, 0, 0])
            .chain(*b"JST\0")
            .collect::<Vec<_>>()
    };
    let counts = [0, 0, 0, 0, 1, 4];
    [block(counts), block(counts), b"\nJST-9\n".to_vec()].concat()
}

#[test]
fn schedule_time_zone_is_that_of_the_system_before_that_of_the_program() {
    let schedule = |name: &str, zone: &str| {
        format!("[{name}]\nfunction = \"echo\"\nargs = \"x\"\ncron = \"@daily\"\ntimezone = \"{zone}\"\n")
    };
    let project = project(&[schedule("a", "Europe/Berlin"), schedule("b", "Asia/Shanghai")].concat());
    std::fs::create_dir_all(project.path("zones/Europe")).unwrap();
    std::fs::write(project.path("zones/Europe/Berlin"), zone_file()).unwrap();
    let mut command = project.command();
    command.args(["schedule:list", "--json", "--address", NOBODY]).env("TZDIR", project.path("zones"));
    let listed = Ran::of(&mut command).exits(0).json();
    let next = |index: usize| listed[index]["next"][0].as_str().unwrap().to_owned();
    assert!(next(0).ends_with("T00:00:00+09:00"), "the system's: {listed}");
    assert!(next(1).ends_with("T00:00:00+08:00"), "the program's own: {listed}");
}
