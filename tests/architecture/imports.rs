//! Every path that a file names, in a `use` or in passing, also among the tokens of a macro.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::source::Source;

/// One path, such as `crate::store::Store` or `tokio::net::TcpStream`.
#[derive(Clone, Default)]
pub(super) struct Import {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
}

/// The paths of a file, without those of items under `#[cfg(test)]`.
pub(super) fn imports(source: &Source) -> Vec<Import> {
    let mut found = Vec::new();
    scan(source.text.parse().unwrap(), &Import::default(), &mut found);
    found.retain(|import| import.path.len() > 1);
    found
}

/// Adds the paths among these tokens; within the braces of a `use` each begins with `stem`.
fn scan(tokens: TokenStream, stem: &Import, found: &mut Vec<Import>) {
    let (mut path, mut before) = (stem.clone(), String::new());
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let text = match &token {
            TokenTree::Group(_) => String::new(),
            token => token.to_string(),
        };
        match token {
            TokenTree::Punct(_) if text == ":" => {}
            TokenTree::Ident(_) if !stem.path.is_empty() && (text == "as" || before == "as") => {}
            TokenTree::Ident(name) => {
                if before != "::" {
                    found.push(std::mem::replace(&mut path, stem.clone()));
                }
                path.line = name.span().start().line;
                path.path.push(text.clone());
            }
            TokenTree::Group(group)
                if before == "#" && group.to_string().replace(' ', "") == "[cfg(test)]" =>
            {
                tokens.find(is_end_of_item);
            }
            TokenTree::Group(group) if before == "::" && group.delimiter() == Delimiter::Brace => {
                scan(group.stream(), &std::mem::replace(&mut path, stem.clone()), found);
            }
            TokenTree::Group(group) => scan(group.stream(), &Import::default(), found),
            _ => found.push(std::mem::replace(&mut path, stem.clone())),
        }
        before = if before == ":" && text == ":" { "::".to_owned() } else { text };
    }
    found.push(path);
}

fn is_end_of_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => token.to_string() == ";",
    }
}

#[test]
fn imports_lists_paths_with_their_lines() {
    let text =
        "use crate::{\n app::{self, App as It},\n log::*,\n};\nfn f(a: super::A) { g!(b::<c::D>::e()) }
        #[cfg(test)]\nmod tests { use super::*; }\n// x::Y\npub use z::Z;";
    let found = imports(&Source { path: "app/a.rs".into(), text: text.into() });
    let found: Vec<_> =
        found.iter().map(|import| format!("{} {}", import.line, import.path.join("::"))).collect();
    let expected =
        ["2 crate::app::self", "2 crate::app::App", "3 crate::log", "5 super::A", "5 c::D", "9 z::Z"];
    for import in expected {
        assert!(found.iter().any(|found| found == import), "{import} is not in {found:?}");
    }
    assert!(!found.iter().any(|found| found.contains("x::Y") || found.contains('*') || found.contains("It")));
}
