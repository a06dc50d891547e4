//! The Rust sources of the project.

use std::fmt::Display;
use std::path::Path;

/// One Rust file.
pub(super) struct Source {
    /// The path from the project's root, such as `framework/server/src/store.rs`.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn parse(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    /// The folder of the crate's root file, such as `framework/server/src`.
    pub(super) fn crate_root(&self) -> &str {
        let end = self.path.find("/src/").map(|at| at + 4).or_else(|| self.path.find('/'));
        &self.path[..end.unwrap_or_default()]
    }

    /// The path of the module in its crate, such as `["store", "memory"]`; empty for the root file.
    pub(super) fn module(&self) -> Vec<String> {
        match self.path[self.crate_root().len()..].trim_start_matches('/').trim_end_matches(".rs") {
            "lib" | "main" => Vec::new(),
            inside => inside.split('/').map(str::to_owned).collect(),
        }
    }

    /// A fault with its place.
    pub(super) fn at(&self, line: usize, fault: impl Display) -> String {
        format!("{}:{line}: {fault}", self.path)
    }
}

/// Every source of the project in the order of paths, without the `ui` programs that must not compile, and
/// the files of a new `project`, which is one of its own.
pub(super) fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = ["app", "commands", "framework", "tests"].map(|name| root.join(name)).into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("ui") && !path.ends_with("new/project") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 50, "only {} sources were found", found.len());
    found
}
