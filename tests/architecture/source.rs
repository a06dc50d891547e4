//! The sources of the house, each with the names that it uses.

use std::fs;
use std::path::Path;

use super::imports::{Import, imports};
use super::tokens::{Token, tokens};
use crate::harness::project_root;

/// One file of Rust.
pub(super) struct Source {
    /// From the root of the project, such as `framework/src/store/memory.rs`.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// Where it stands in its crate, such as `["store", "memory"]`; the root of a crate stands nowhere.
    pub(super) fn module(&self) -> Vec<&str> {
        let path = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let inside = ["framework/macros/src/", "framework/src/", "commands/src/", "app/"]
            .iter()
            .find_map(|root| path.strip_prefix(root))
            .unwrap_or(path);
        match inside {
            "lib" | "main" => Vec::new(),
            inside => inside.split('/').collect(),
        }
    }

    /// `server` is above `server/queue.rs`, and above `server.rs` itself.
    pub(super) fn is_below(&self, directory: &str) -> bool {
        directory.is_empty()
            || self.path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(['/', '.']))
    }

    /// A file that is all tests; others hold theirs under `#[cfg(test)]`.
    pub(super) fn is_test(&self) -> bool {
        self.module().contains(&"tests")
    }

    pub(super) fn tokens(&self) -> Vec<Token<'_>> {
        tokens(&self.text)
    }

    pub(super) fn imports(&self) -> Vec<Import> {
        imports(&self.tokens(), &self.module())
    }

    pub(super) fn lines(&self) -> usize {
        self.text.lines().count()
    }

    /// A sentence about one of its lines.
    pub(super) fn says(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// What there is to say of the imports below a directory, each with its file and line.
pub(super) fn imports_below(
    directory: &str,
    sources: &[Source],
    judge: impl Fn(&Source, &Import) -> Option<String>,
) -> Vec<String> {
    let mut said = Vec::new();
    for source in sources.iter().filter(|source| source.is_below(directory)) {
        let found = source.imports();
        said.extend(
            found
                .iter()
                .filter_map(|import| judge(source, import).map(|what| source.says(import.line, what))),
        );
    }
    said
}

/// Every source of the project, in the order of their paths.
pub(super) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for directory in ["app", "commands", "framework", "tests"] {
        gather(&project_root().join(directory), &mut found);
    }
    found.sort_by(|one: &Source, other| one.path.cmp(&other.path));
    assert!(found.len() > 50, "only {} sources were found", found.len());
    found
}

fn gather(directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(project_root()).unwrap().to_str().unwrap().to_owned();
            found.push(Source { path, text });
        }
    }
}
