//! What commands show: in terminals of several widths, with and without colours, and elsewhere.

use std::fs;

use crate::harness::pty::{Dialogue, stdout_on_terminal_of};
use crate::harness::{Project, Ran, project_root, variable};

/// The commands whose output is compared, and the names of the files that it is compared to.
const SHOWN: [(&str, &str); 4] = [
    ("list-demo", "list demo"),
    ("help-hello", "help demo:hello"),
    ("help-make-command", "make:command --help"),
    ("show", "demo:show --pause 0s --quiet"),
];

/// Compares a text to `tests/console/snapshots/NAME.txt`, in which the escape character is `\e`; with
/// `UPDATE_SNAPSHOTS=1` in the environment, the file is written instead.
#[track_caller]
fn assert_snapshot(name: &str, text: &str) {
    let text = text.replace('\r', "").replace('\x1b', "\\e");
    let path = project_root().join(format!("tests/console/snapshots/{name}.txt"));
    if variable("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, wanted, "{name}: UPDATE_SNAPSHOTS=1 accepts it");
}

#[test]
fn everything_shown_fits_into_terminals_of_40_80_and_120_columns() {
    let project = Project::new();
    for (name, line) in SHOWN {
        for columns in [40, 80, 120] {
            for colors in ["no-ansi", "ansi"] {
                let mut command = project.command();
                command.args(line.split(' ')).arg(format!("--{colors}"));
                let shown = stdout_on_terminal_of(columns, command);
                assert_snapshot(&format!("{name}-{columns}-{colors}"), &shown);
            }
        }
    }
}

#[test]
fn pipe_gets_neither_colours_nor_links_nor_bars() {
    let ran = Project::new().think("demo:show --pause 0s").exits(0);
    assert!(ran.stdout.contains("the project (https://example.com/think)\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("<error>not markup</error>\\u{1b}[2J\n"), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b') && !ran.stderr.contains(['\x1b', '\r']), "{ran:?}");
    let tenths = (1..=10).map(|tenth| format!("Mails: {tenth} of 10 ({tenth}0 %)\n"));
    for line in tenths.chain(["Counting\n".to_owned(), "10 mails sent\n".to_owned()]) {
        assert!(ran.stderr.contains(&line), "{line:?} in {}", ran.stderr);
    }
    assert_eq!(Project::new().think("demo:show --pause 0s -q").exits(0).stderr, "");
}

#[test]
fn terminal_shows_bars_and_keeps_the_notes_above_them() {
    let project = Project::new();
    for columns in [40, 80, 120] {
        let mut dialogue = Dialogue::run_on(columns, &project.command(), &["demo:show"]);
        dialogue.answer("half of it is done", "");
        dialogue.answer("10 mails sent", "");
        dialogue.answer("20 images resized", "");
        assert_eq!(dialogue.exit_code(), Some(0));
        assert!(dialogue.is_clean());
        let shown = dialogue.shown();
        assert!(shown.contains("Mails") && shown.contains("=>"), "{shown}");
        let rows: Vec<String> =
            shown.split(['\n', '\r']).map(plain).filter(|row| row.contains("=>")).collect();
        assert!(rows.iter().all(|row| row.matches("=>").count() == 1), "a bar on each line: {shown:?}");
        let widest = rows.iter().map(|row| row.chars().count()).max().unwrap();
        assert!(widest <= usize::from(columns), "{widest} of {columns}: {shown:?}");
    }
}

/// A text without the sequences that move the cursor and set colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    let behind = parts.map(|part| {
        part.split_once(|letter: char| letter.is_ascii_alphabetic()).map_or("", |(_, rest)| rest)
    });
    first + &behind.collect::<String>()
}

#[test]
fn terminal_shows_links_and_the_tags_of_markup() {
    let project = Project::new();
    let mut command = project.command();
    command.args(["demo:show", "--pause", "0s", "-q"]);
    let shown = stdout_on_terminal_of(80, command);
    let link = "\x1b]8;;https://example.com/think\x1b\\the project\x1b]8;;\x1b\\\r\n";
    assert!(shown.contains(link), "{shown:?}");
    assert!(shown.contains("\x1b[32minfo\x1b[0m"), "{shown:?}");
    assert!(shown.contains("<error>not markup</error>\\u{1b}[2J"), "{shown:?}");
}

#[test]
fn variables_decide_about_colours() {
    let project = Project::new();
    let coloured = |variables: &[(&str, &str)]| {
        let mut command = project.command();
        Ran::of(command.args(["list", "demo"]).envs(variables.iter().copied())).stdout.contains('\x1b')
    };
    assert!(!coloured(&[]));
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    let mut dumb = project.command();
    dumb.args(["demo:show", "--pause", "0s"]).env("TERM", "dumb");
    assert!(!stdout_on_terminal_of(80, dumb).contains('\x1b'));
}

#[test]
fn interrupted_bar_leaves_a_clean_terminal() {
    let project = Project::new();
    let mut dialogue = Dialogue::run_on(80, &project.command(), &["demo:show", "--pause", "10s"]);
    dialogue.answer("Mails", "\x03");
    assert_ne!(dialogue.exit_code(), Some(0));
    assert!(dialogue.is_clean());
}
