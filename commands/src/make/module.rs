//! Adds a `mod` line to the file that lists the modules of a folder.

use std::io::ErrorKind;
use std::path::Path;

use framework::prelude::*;

/// Declares `module` in the file at `path`, which is created when missing; `false` if it was declared
/// already.
pub(super) fn add_module(path: &Path, kind: &str, module: &str) -> Result<bool> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => format!("//! The {kind}s of this program.\n\n"),
        Err(error) => return Err(error.into()),
    };
    let Some(text) = with_module(&text, module) else { return Ok(false) };
    std::fs::write(path, text)?;
    Ok(true)
}

/// Whether `text` declares `module`.
pub(super) fn declares_module(text: &str, module: &str) -> bool {
    text.lines().filter_map(module_of).any(|name| name == module)
}

/// The text with the declaration added: in its place if the list is sorted, else after the list.
fn with_module(text: &str, module: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let named: Vec<(usize, &str)> =
        lines.iter().enumerate().filter_map(|(index, line)| Some((index, module_of(line)?))).collect();
    if named.iter().any(|(_, name)| *name == module) {
        return None;
    }
    let sorted = named.is_sorted_by_key(|(_, name)| *name);
    let later = named.iter().find(|(_, name)| sorted && *name > module);
    let place = match (later, named.last()) {
        (Some((index, _)), _) => start_of(&lines, *index),
        (None, Some((index, _))) => index + 1,
        (None, None) => lines.len(),
    };
    let new = format!("mod {module};");
    let (before, after) = lines.split_at(place);
    let mut all: Vec<&str> = before.to_vec();
    all.push(&new);
    all.extend(after);
    Some(all.join("\n") + "\n")
}

/// The module that a line declares, if that is all it does.
fn module_of(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
    line.strip_prefix("mod ")?.trim_end().strip_suffix(';')
}

/// The first line of a declaration, with the comments and attributes above it.
fn start_of(lines: &[&str], declaration: usize) -> usize {
    let belongs = |line: &&&str| line.starts_with("///") || line.starts_with("#[");
    declaration - lines[..declaration].iter().rev().take_while(belongs).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_module_keeps_a_sorted_list_sorted() {
        let text = "//! Commands.\n\nmod alpha;\nmod gamma;\n";
        assert_eq!(
            with_module(text, "beta").unwrap(),
            "//! Commands.\n\nmod alpha;\nmod beta;\nmod gamma;\n"
        );
        assert!(with_module(text, "zeta").unwrap().ends_with("mod gamma;\nmod zeta;\n"));
    }

    #[test]
    fn with_module_appends_to_an_unsorted_list() {
        let text = "mod gamma;\nmod alpha;\n\nfn tail() {}\n";
        assert_eq!(with_module(text, "beta").unwrap(), "mod gamma;\nmod alpha;\nmod beta;\n\nfn tail() {}\n");
    }

    #[test]
    fn with_module_keeps_attributes_with_their_module() {
        let text = "mod alpha;\n#[cfg(unix)]\npub mod gamma;\n";
        assert_eq!(
            with_module(text, "beta").unwrap(),
            "mod alpha;\nmod beta;\n#[cfg(unix)]\npub mod gamma;\n"
        );
    }

    #[test]
    fn with_module_declares_a_module_once() {
        assert_eq!(with_module("mod alpha;\n", "alpha"), None);
        assert_eq!(with_module("pub(crate) mod alpha;\n", "alpha"), None);
    }
}
