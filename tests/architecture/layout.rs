//! How a file looks, and what stands where.

use std::fs;

use super::source::Source;
use crate::harness::project_root;

const LINES_AT_MOST: usize = 400;
/// Names that say nothing of what a file holds.
const EMPTY_NAMES: [&str; 9] =
    ["mod", "utils", "util", "common", "helpers", "helper", "manager", "imp", "misc"];
/// What stands at the top, beside dot-files.
const TOP: [&str; 11] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "app",
    "commands",
    "config",
    "framework",
    "tests",
    "think",
];
/// What a build and a run leave there.
const LEFT_BEHIND: [&str; 2] = ["runtime", "target"];
/// Every crate of the project.
const CRATES: [&str; 4] =
    ["Cargo.toml", "commands/Cargo.toml", "framework/Cargo.toml", "framework/macros/Cargo.toml"];

/// A file opens with a paragraph that is one sentence.
pub(super) fn first_lines(sources: &[Source]) -> Vec<String> {
    let sentence = |source: &Source| {
        let opening = source.text.lines().map_while(|line| line.strip_prefix("//! "));
        let paragraph = opening.collect::<Vec<_>>().join(" ");
        let is_one = paragraph.ends_with(['.', ':', '!']) && !paragraph.contains(". ");
        (!is_one).then(|| source.says(1, "opens without a `//!` paragraph of one sentence"))
    };
    sources.iter().filter_map(sentence).collect()
}

pub(super) fn lengths(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.lines() > LINES_AT_MOST);
    long.map(|source| source.says(source.lines(), "is too long: which name hides in it?")).collect()
}

/// `x.rs` beside `x/`, and no name that fits everything.
pub(super) fn names(sources: &[Source]) -> Vec<String> {
    let is_empty = |source: &&Source| source.path.split(['/', '.']).any(|part| EMPTY_NAMES.contains(&part));
    sources.iter().filter(is_empty).map(|source| source.says(1, "has a name that says nothing")).collect()
}

pub(super) fn top() -> Vec<String> {
    let mut broken = Vec::new();
    for entry in fs::read_dir(project_root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.starts_with('.') && !TOP.contains(&&*name) && !LEFT_BEHIND.contains(&&*name) {
            broken.push(format!("{name}: does not belong at the top"));
        }
    }
    broken.sort();
    broken
}

/// The lints that keep printing and the environment in their places, and that every crate has them.
pub(super) fn lints() -> Vec<String> {
    let mut broken = Vec::new();
    let mut expect = |file: &str, line: &str| {
        let text = fs::read_to_string(project_root().join(file)).unwrap();
        if !text.contains(line) {
            broken.push(format!("{file}: `{line}` is missing"));
        }
    };
    for name in CRATES {
        expect(name, "[lints]\nworkspace = true");
    }
    for lint in ["print_stdout", "print_stderr", "dbg_macro", "unwrap_used", "allow_attributes"] {
        expect("Cargo.toml", &format!("{lint} = \"warn\""));
    }
    for read in ["var", "var_os", "vars", "vars_os"] {
        expect(".clippy.toml", &format!("{{ path = \"std::env::{read}\""));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::made_up;

    #[test]
    fn a_file_that_breaks_the_layout_is_found() {
        let opens = |text| first_lines(&[made_up("app/a.rs", text)]).is_empty();
        assert!(opens("//! Greets\n//! people.\n//!\n//! Often. And long.\n\nuse a::b;\n"));
        assert!(
            !opens("//! Greets people. Often.\n") && !opens("use a::b;\n") && !opens("//! Greets people\n")
        );
        assert_eq!(names(&[made_up("app/task/mod.rs", ""), made_up("app/utils/a.rs", "")]).len(), 2);
        assert_eq!(lengths(&[made_up("app/a.rs", &"\n".repeat(401)), made_up("app/b.rs", "\n")]).len(), 1);
    }
}
