//! The README, of which tests run what it shows.

use super::project_root;

pub(crate) fn readme() -> String {
    std::fs::read_to_string(project_root().join("README.md")).unwrap()
}

/// The fenced blocks of one language.
pub(crate) fn blocks(language: &str) -> Vec<String> {
    let readme = readme();
    let parts = readme.split("\n```").collect::<Vec<_>>();
    let bodies = parts.iter().skip(1).step_by(2);
    bodies.filter_map(|block| block.strip_prefix(&format!("{language}\n"))).map(str::to_owned).collect()
}
