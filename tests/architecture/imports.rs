//! Every path that a file names, by `use` or in passing, told from the root of its crate.

use super::tokens::{Kind, Token};

/// One path, such as `crate::store::Store` or `tokio::net::TcpStream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) line: usize,
    /// Begins with `crate` where it is within its own crate.
    pub(super) path: Vec<String>,
    pub(super) is_use: bool,
}

impl Import {
    pub(super) fn name(&self) -> String {
        self.path.join("::")
    }

    /// What follows the name of the crate, where the path begins with one of these names.
    pub(super) fn within(&self, crates: &[&str]) -> Option<&[String]> {
        let (first, rest) = self.path.split_first()?;
        crates.contains(&first.as_str()).then_some(rest)
    }
}

pub(super) fn imports(tokens: &[Token<'_>], module: &[&str]) -> Vec<Import> {
    let mut reader = Reader { tokens, at: 0, depth: 0, inner: Vec::new(), module, found: Vec::new() };
    while reader.at < tokens.len() {
        reader.step();
    }
    reader.found
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// How many braces are open.
    depth: usize,
    /// The modules within the file that are open here, each with the depth it began at.
    inner: Vec<(&'a str, usize)>,
    module: &'a [&'a str],
    found: Vec<Import>,
}

impl<'a> Reader<'a> {
    fn step(&mut self) {
        let token = self.tokens[self.at];
        match token.text {
            "{" => self.depth += 1,
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                self.inner.retain(|&(_, depth)| depth < self.depth);
            }
            "mod" if self.text(self.at + 2) == "{" => self.inner.push((self.text(self.at + 1), self.depth)),
            "use" if !matches!(self.text(self.at + 1), "<" | "") => {
                self.at += 1;
                return self.branch(&[], true);
            }
            _ if self.begins_path() => return self.branch(&[], false),
            _ => {}
        }
        self.at += 1;
    }

    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text)
    }

    fn begins_path(&self) -> bool {
        let before = |back: usize| self.at.checked_sub(back).and_then(|at| self.tokens.get(at));
        let goes_on = before(1).is_some_and(|token| token.is("::"))
            && before(2).is_some_and(|token| token.kind == Kind::Word || token.is(">"));
        self.tokens[self.at].kind == Kind::Word && self.text(self.at + 1) == "::" && !goes_on
    }

    /// Reads a path to its end, and in a `use` all that it branches into.
    fn branch(&mut self, stem: &[&'a str], is_use: bool) {
        self.at += usize::from(matches!(self.text(self.at), "::" | "$"));
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        let mut path = stem.to_vec();
        while let Some(token) = self.tokens.get(self.at) {
            match token.text {
                "{" => return self.branches(&path),
                "*" => path.push("*"),
                name if token.kind == Kind::Word => path.push(name),
                _ => break,
            }
            self.at += 1;
            if !self.goes_on(is_use) {
                break;
            }
            self.at += 1;
        }
        if is_use && self.text(self.at) == "as" {
            self.at += 2;
        }
        let path = self.absolute(&path);
        self.found.push(Import { line, path, is_use });
    }

    /// In `Vec::<u8>::new` the path ends before the types.
    fn goes_on(&self, is_use: bool) -> bool {
        let next = self.tokens.get(self.at + 1);
        self.text(self.at) == "::" && next.is_some_and(|next| is_use || next.kind == Kind::Word)
    }

    fn branches(&mut self, stem: &[&'a str]) {
        self.at += 1;
        while !matches!(self.text(self.at), "}" | "") {
            let before = self.at;
            self.branch(stem, true);
            self.at += usize::from(self.text(self.at) == "," || self.at == before);
        }
        self.at += 1;
    }

    fn absolute(&self, path: &[&str]) -> Vec<String> {
        let mut here: Vec<&str> = vec!["crate"];
        here.extend(self.module);
        here.extend(self.inner.iter().map(|&(name, _)| name));
        let above = path.iter().take_while(|name| matches!(**name, "super" | "self"));
        let is_absolute = above.clone().next().is_none();
        let rest = path[above.clone().count()..].iter().filter(|name| **name != "self");
        here.truncate(here.len().saturating_sub(above.filter(|name| **name == "super").count()).max(1));
        if is_absolute {
            here.clear();
        }
        here.extend(rest);
        here.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::architecture::tokens::tokens;

    fn imports(module: &[&str], text: &str) -> Vec<String> {
        let found = super::imports(&tokens(text), module);
        found.iter().map(|import| format!("{} {}", import.line, import.name())).collect()
    }

    #[test]
    fn the_branches_of_a_use_are_paths_of_their_own() {
        let text = "use crate::{\n    app::{self, App as It},\n    store::*,\n};\npub use {anyhow, ::clap};";
        let found = ["2 crate::app", "2 crate::app::App", "3 crate::store::*", "5 anyhow", "5 clap"];
        assert_eq!(imports(&[], text), found);
    }

    #[test]
    fn a_path_in_passing_counts_like_a_use() {
        let text = "fn f(x: &crate::store::Lease) -> Vec<u8> {\n ::tokio::net::lookup(Vec::<u8>::new()) }";
        assert_eq!(imports(&[], text), ["1 crate::store::Lease", "2 tokio::net::lookup", "2 Vec"]);
        assert_eq!(imports(&[], "($x:tt) => { $crate::log::info!($x) }"), ["1 crate::log::info"]);
    }

    #[test]
    fn super_is_told_from_the_root_also_within_a_module_of_the_file() {
        let module = ["server", "session", "batch"];
        assert_eq!(imports(&module, "use super::super::queue::Queue;"), ["1 crate::server::queue::Queue"]);
        let text = "mod tests {\n use super::*;\n mod more { use super::super::super::x; }\n}\nuse super::y;";
        let found = [
            "2 crate::server::session::batch::*",
            "3 crate::server::session::x",
            "5 crate::server::session::y",
        ];
        assert_eq!(imports(&module, text), found);
    }

    #[test]
    fn what_is_written_in_comments_and_strings_is_no_import() {
        let text =
            "// crate::a::b\n/* crate::a /* */ crate::a::b */ \"\\\"crate::a::b\" r#\"\"crate::a::b\"# '\"'";
        assert_eq!(imports(&[], text), Vec::<String>::new());
        assert_eq!(imports(&[], "fn f<'a>(x: &'a a::B) { '\\'' }"), ["1 a::B"]);
    }
}
