//! Trees: names with what is below them.

use super::escape_control;
use super::text::{width, wrap_within};

/// A name with what is below it.
///
/// ```
/// # use framework::output::{ColorChoice, Output, Tree, Verbosity};
/// # let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
/// let mail = Tree::new("mail").child(Tree::new("smtp"));
/// let tree = Tree::new("config").child(Tree::new("server.toml")).child(mail);
/// output.tree(&tree);
/// # assert_eq!(output.into_captured().stdout, "\
/// # config
/// # ├── server.toml
/// # └── mail
/// #     └── smtp
/// # ");
/// ```
#[derive(Debug, Clone)]
pub struct Tree {
    name: String,
    children: Vec<Self>,
}

impl Tree {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), children: Vec::new() }
    }

    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// The lines of the tree; names are escaped, and wrapped at `limit`.
    pub(super) fn lines(&self, limit: Option<usize>) -> Vec<String> {
        let mut lines = name_lines(&self.name, "", "", limit);
        self.add_children("", limit, &mut lines);
        lines
    }

    fn add_children(&self, indent: &str, limit: Option<usize>, lines: &mut Vec<String>) {
        for (index, child) in self.children.iter().enumerate() {
            let is_last = index + 1 == self.children.len();
            let (branch, below) = if is_last { ("└── ", "    ") } else { ("├── ", "│   ") };
            let below = format!("{indent}{below}");
            lines.extend(name_lines(&child.name, &format!("{indent}{branch}"), &below, limit));
            child.add_children(&below, limit, lines);
        }
    }
}

fn name_lines(name: &str, first: &str, further: &str, limit: Option<usize>) -> Vec<String> {
    let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(width(first)).max(1));
    let lines = wrap_within(&escape_control(name), room);
    let indents = std::iter::once(first).chain(std::iter::repeat(further));
    indents.zip(lines).map(|(indent, line)| format!("{indent}{line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_wraps_names_beside_their_branches() {
        let tree = Tree::new("任务")
            .child(Tree::new("a long name\u{1b}").child(Tree::new("x")))
            .child(Tree::new("b"));
        let lines = ["任务", "├── a long", "│   name\\u{1", "│   b}", "│   └── x", "└── b"];
        assert_eq!(tree.lines(Some(12)), lines);
    }
}
