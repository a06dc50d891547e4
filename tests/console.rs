//! The console: list, help, names, options, exit codes, colours.

mod asking;
mod completing;
mod doctor;
mod launcher;
mod plugins;
mod showing;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use serde_json::json;

use crate::harness::pty::{Terminal, stdout_on_terminal, stdout_on_terminal_of};
use crate::harness::server::Server;
use crate::harness::{Project, Ran};

fn think(arguments: &str) -> Ran {
    Project::new().think(arguments)
}

#[test]
fn missing_command_runs_list() {
    let list = think("list").exits(0);
    assert_eq!(think("").exits(0).stdout, list.stdout);
    assert_eq!(think("--help").exits(0).stdout, list.stdout);
}

#[test]
fn list_shows_version_usage_options_and_sorted_groups() {
    let list = think("list").exits(0).stdout;
    let version = format!("think {}", env!("CARGO_PKG_VERSION"));
    let landmarks = [
        &version,
        "Usage:",
        "Global options:",
        "-h, --help",
        "Available commands:",
        "  list ",
        " demo\n",
        "  demo:hello ",
        " make\n",
        "  make:command ",
        "  make:task ",
        " task: server\n",
        "  task:start ",
        " task\n",
        "  task:send ",
    ];
    let mut rest = list.as_str();
    for landmark in landmarks {
        let at = rest.find(landmark).unwrap_or_else(|| panic!("no {landmark:?} in its place:\n{list}"));
        rest = &rest[at + landmark.len()..];
    }
}

#[test]
fn list_aligns_the_descriptions() {
    let list = think("list").exits(0).stdout;
    let commands = list.split("Available commands:\n").nth(1).unwrap();
    let column = |line: &str| line.rfind("  ").map(|gap| gap + 2);
    let columns: Vec<_> = commands.lines().filter(|line| line.starts_with("  ")).map(column).collect();
    assert!(columns.len() >= 4 && columns.iter().all(|column| *column == columns[0]), "{columns:?}\n{list}");
}

#[test]
fn list_of_a_group_shows_that_group_and_rejects_unknown_ones() {
    let list = think("list make").exits(0).stdout;
    assert!(list.contains("make:task") && !list.contains("demo:hello"), "{list}");
    assert!(think("list nothing").exits(2).stderr.contains("the groups are: config, demo, make"));
}

#[test]
fn list_verbose_names_crate_and_source_line() {
    let list = think("list -v").exits(0).stdout;
    assert!(list.contains("(think app/command/hello.rs:"), "{list}");
    assert!(list.contains("(think-commands commands/src/list.rs:"), "{list}");
}

#[test]
fn list_json_prints_an_array() {
    let list: serde_json::Value = serde_json::from_str(&think("list demo --json").exits(0).stdout).unwrap();
    assert_eq!(list[0]["name"], "demo:hello");
    assert_eq!(list[0]["description"], "Greet somebody");
}

#[test]
fn abbreviation_runs_the_only_matching_command() {
    assert_eq!(think("d:h Ada --times 2").exits(0).stdout, "Hello, Ada!\nHello, Ada!\n");
}

#[test]
fn group_name_lists_its_commands() {
    let ran = think("make").exits(2);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("\n  make:command\n  make:monitoring\n  make:release\n"), "{}", ran.stderr);
}

#[test]
fn unknown_command_suggests_the_nearest() {
    let ran = think("demo:helo Ada").exits(2);
    assert_eq!(ran.stdout, "");
    assert_eq!(ran.stderr, "error: there is no command \"demo:helo\". Did you mean \"demo:hello\"?\n");
}

#[test]
fn invalid_command_line_exits_2_with_an_error_on_stderr() {
    for (arguments, complaint) in [
        ("demo:hello", "<NAME>"),
        ("demo:hello Ada --tmes 2", "--times"),
        ("demo:hello Ada --times many", "only digits are expected"),
        ("task:retry", "which tasks? Name them by their ids"),
        ("task:send {", "it ends too early"),
        ("--bogus", "--bogus"),
    ] {
        let ran = think(arguments).exits(2);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(complaint), "{}", ran.stderr);
    }
}

#[test]
fn help_is_the_same_however_it_is_requested() {
    let help = think("help demo:hello").exits(0).stdout;
    for landmark in [
        "Greet somebody",
        "Says hello as often as you like.",
        "think demo:hello [OPTIONS] <NAME>",
        "Arguments:",
        "Whom to greet",
        "Options:",
        "How often",
        "Global options:",
    ] {
        assert!(help.contains(landmark), "no {landmark:?} in:\n{help}");
    }
    for way in ["demo:hello -h", "demo:hello --help", "-h demo:hello", "help d:h", "demo:hello --times 2 -h"]
    {
        assert_eq!(think(way).exits(0).stdout, help, "{way}");
    }
}

#[test]
fn version_is_printed_before_and_after_the_name() {
    let version = format!("think {}\n", env!("CARGO_PKG_VERSION"));
    for way in ["-V", "--version", "demo:hello -V", "-V demo:hello Ada"] {
        assert_eq!(think(way).exits(0).stdout, version, "{way}");
    }
}

#[test]
fn global_options_work_before_and_after_the_name() {
    for way in ["-v list", "list -v", "-vv list --no-ansi", "--no-interaction list -v"] {
        assert!(think(way).exits(0).stdout.contains("hello.rs:"), "{way}");
    }
    assert!(think("--ansi list").exits(0).stdout.contains('\x1b'));
    assert!(think("list --ansi").exits(0).stdout.contains('\x1b'));
}

#[test]
fn double_dash_ends_the_options() {
    assert_eq!(think("demo:hello -- --ansi").exits(0).stdout, "Hello, --ansi!\n");
}

#[test]
fn quiet_prints_results_and_errors_only() {
    assert_eq!(think("demo:hello Ada -q").exits(0).stdout, "Hello, Ada!\n");
    assert!(think("-q nothing").exits(2).stderr.starts_with("error: "));
}

#[test]
fn pipe_gets_no_colours_unless_requested() {
    assert!(!think("list").stdout.contains('\x1b'));
    assert!(!think("demo:hello -h --no-ansi").stdout.contains('\x1b'));
    assert!(think("demo:hello -h --ansi").stdout.contains('\x1b'));
    assert!(!think("list --ansi --no-ansi").stdout.contains('\x1b'));
    assert!(think("list --no-ansi --ansi").stdout.contains('\x1b'));
    assert!(!think("--no-ansi demo:hello --bogus").stderr.contains('\x1b'));
    assert!(think("demo:hello --bogus --ansi").stderr.contains('\x1b'));
}

/// The output of a command on a terminal.
fn on_a_terminal(arguments: &str, no_color: Option<&str>) -> String {
    let project = Project::new();
    let mut command = project.command();
    command.args(arguments.split_whitespace());
    if let Some(value) = no_color {
        command.env("NO_COLOR", value);
    }
    stdout_on_terminal(command)
}

#[test]
fn terminal_gets_colours_unless_disabled() {
    assert!(on_a_terminal("list", None).contains("\x1b[33mUsage:\x1b[0m"));
    assert!(on_a_terminal("list", Some("")).contains('\x1b'));
    assert!(!on_a_terminal("list", Some("1")).contains('\x1b'));
    assert!(!on_a_terminal("list --no-ansi", None).contains('\x1b'));
    assert!(on_a_terminal("list --ansi", Some("1")).contains('\x1b'));
}

#[test]
fn closed_pipe_is_no_error() {
    let (reader, writer): (OwnedFd, OwnedFd) = rustix::pipe::pipe().unwrap();
    drop(reader);
    let project = Project::new();
    let mut command = project.command();
    command.arg("list").stdout(Stdio::from(writer)).stderr(Stdio::piped());
    let ran = Ran::finish(command.spawn().unwrap()).exits(0);
    assert_eq!(ran.stderr, "");
}

#[test]
#[cfg(target_os = "linux")]
fn unwritable_stdout_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let project = Project::new();
    let mut command = project.command();
    command.arg("list").stdout(full).stderr(Stdio::piped());
    let ran = Ran::finish(command.spawn().unwrap()).exits(1);
    assert!(ran.stderr.contains("could not be written"), "{}", ran.stderr);
}

#[test]
fn list_reads_no_configuration() {
    let project = Project::new();
    project.write("config/server.toml", "this is not TOML");
    project.think("list").exits(0);
}

#[test]
fn help_list_and_tables_fit_into_every_terminal() {
    let project = Project::new();
    for columns in [40, 57, 80, 120] {
        for arguments in ["list", "list -v", "help task:batch", "task:start -h", "task:functions"] {
            let mut command = project.command();
            command.args(arguments.split(' ')).args(["--no-ansi"]);
            let shown = stdout_on_terminal_of(columns, command);
            let longest = shown.lines().max_by_key(|line| line.chars().count()).unwrap();
            // A word alone may be longer.
            let is_word = longest.split_whitespace().count() == 1;
            let fits = longest.chars().count() <= usize::from(columns) || is_word;
            assert!(fits, "{arguments} at {columns} columns: {longest:?}");
        }
    }
}

#[test]
fn width_is_that_of_columns_if_it_is_set() {
    let project = Project::new();
    let mut command = project.command();
    let ran = Ran::of(command.args(["help", "task:batch"]).env("COLUMNS", "60"));
    assert!(ran.stdout.lines().all(|line| line.len() <= 60), "{}", ran.stdout);
}

#[test]
fn watch_shows_the_alternate_screen_and_returns_from_it() {
    let server = Server::start();
    let like = server.project.command();
    let address = ["--address", &server.address];
    for columns in [40, 100] {
        let arguments = [&["task:status", "--watch", "--every", "50ms"], &address[..]].concat();
        let mut terminal = Terminal::run_on(columns, &like, &arguments);
        terminal.line_with("\x1b[?1049h");
        terminal.line_with("\x1b[2J");
        terminal.interrupt();
        assert_eq!(terminal.exit_code(), Some(130));
        assert!(terminal.rest().last().unwrap().ends_with("\x1b[?1049l"));
    }
    let mut dumb = server.project.command();
    dumb.env("TERM", "dumb").env("CI", "true");
    let mut terminal = Terminal::run(&dumb, &[&["task:status", "--watch"], &address[..]].concat());
    terminal.line_with("accepted");
    terminal.interrupt();
    assert!(terminal.rest().iter().all(|line| !line.contains('\x1b')));
}

#[test]
fn list_in_other_formats_has_every_argument_unless_it_is_short() {
    let json = think("list demo --format json").exits(0).json();
    assert_eq!(json[0]["usage"], "think demo:hello [OPTIONS] <NAME>");
    let name = &json[0]["arguments"][0];
    assert_eq!((&name["synopsis"], &name["description"]), (&json!("<NAME>"), &json!("Whom to greet")));
    assert_eq!((&name["required"], &name["multiple"]), (&json!(true), &json!(false)));
    let times = &json[0]["options"][0];
    assert_eq!((&times["synopsis"], &times["default"]), (&json!("-t, --times <TIMES>"), &json!(["1"])));
    assert_eq!(think("list demo --json --short").exits(0).json()[0].get("options"), None);

    let markdown = think("list demo --format md").exits(0).stdout;
    for expected in [
        "\n- [`demo:hello`](#demohello): Greet somebody\n",
        "\n## demo:hello\n\nGreet somebody\n\n```sh\nthink demo:hello [OPTIONS] <NAME>\n```\n",
        "\n- `<NAME>`: Whom to greet (required)\n",
        "\n- `-t, --times <TIMES>`: How often (default `1`)\n",
        "\n## Global options\n\n- `-h, --help`: ",
    ] {
        assert!(markdown.contains(expected), "{expected:?} in {markdown}");
    }
    let short = think("list demo --format md --short").exits(0).stdout;
    assert!(short.contains("- `demo:hello`: Greet somebody\n") && !short.contains("<NAME>"), "{short}");

    assert!(think("list demo --raw").exits(0).stdout.starts_with("demo:hello      Greet somebody\n"));
    assert!(think("list --raw --json").exits(2).stderr.contains("cannot be used with"));
    assert!(think("list --format xml").exits(2).stderr.contains("[possible values: txt, json, md]"));
}
