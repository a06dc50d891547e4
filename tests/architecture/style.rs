//! How types, functions, files and doc comments look.

use std::collections::BTreeMap;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Item, ItemEnum, ItemStruct, Signature};

use super::faults;
use super::source::Source;

const LINES_MAX: usize = 400;
const COLUMNS_MAX: usize = 110;
const WORDS_MIN: usize = 3;
/// Verbs that leave open what a function does.
const VAGUE_VERBS: [&str; 10] =
    ["tell", "told", "hear", "say", "word", "give", "part", "leave", "dismiss", "enter"];
/// The type names that a crate may have more than once, because the module's name says the rest.
const REPEATED_TYPES: [&str; 2] = ["Inner", "State"];
/// The derives that make help texts of doc comments, which may be as short as `How often`.
const HELP_DERIVES: [&str; 5] = ["Args", "Parser", "Subcommand", "Task", "ValueEnum"];

/// Checks that no two types of a crate share a name, apart from unit tests and from the structs of commands,
/// which nothing names again. `tests` is not checked: its types are those of one file.
pub(super) fn types(sources: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let sources = sources.iter().filter(|source| source.crate_root() != "tests");
    for source in sources.filter(|source| !source.path.ends_with("/tests.rs")) {
        for item in &source.parse().items {
            let name = match item {
                Item::Struct(item) if !derives_one_of(&item.attrs, &["Command"]) => &item.ident,
                Item::Enum(item) => &item.ident,
                Item::Trait(item) => &item.ident,
                Item::Type(item) => &item.ident,
                _ => continue,
            };
            let place = source.at(name.span().start().line, format_args!("`{name}` is defined twice"));
            places.entry((source.crate_root(), name.to_string())).or_default().push(place);
        }
    }
    places.retain(|(_, name), places| places.len() > 1 && !REPEATED_TYPES.contains(&name.as_str()));
    places.into_values().flatten().collect()
}

/// Checks that no function is called by one of the vague verbs alone.
pub(super) fn functions(sources: &[Source]) -> Vec<String> {
    let vague = |source: &Source| {
        let mut names = FunctionNames(Vec::new());
        names.visit_file(&source.parse());
        let vague = names.0.into_iter().filter(|name| VAGUE_VERBS.iter().any(|verb| name == verb));
        vague
            .map(|name| source.at(name.span().start().line, format_args!("calls a function `{name}`")))
            .collect::<Vec<_>>()
    };
    sources.iter().flat_map(vague).collect()
}

struct FunctionNames(Vec<Ident>);

impl<'ast> Visit<'ast> for FunctionNames {
    fn visit_signature(&mut self, signature: &'ast Signature) {
        self.0.push(signature.ident.clone());
        visit::visit_signature(self, signature);
    }
}

pub(super) fn lengths(sources: &[Source]) -> Vec<String> {
    let long = sources.iter().filter(|source| source.text.lines().count() > LINES_MAX);
    long.map(|source| source.at(LINES_MAX + 1, "is too long")).collect()
}

pub(super) fn doc_widths(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let lines = source.text.lines().enumerate();
        let wide = lines.filter(|(_, line)| doc_text(line).is_some() && line.chars().count() > COLUMNS_MAX);
        faults.extend(wide.map(|(at, _)| source.at(at + 1, "is too wide")));
    }
    faults
}

/// Checks that a doc comment says something, unless it is the help text of a command or a task.
pub(super) fn doc_words(sources: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    for source in sources {
        let mut help = HelpLines(Vec::new());
        help.visit_file(&source.parse());
        let mut words = 0;
        let mut lines = source.text.lines().map(doc_text).enumerate().peekable();
        while let Some((at, doc)) = lines.next() {
            words += doc.map_or(0, |doc| doc.split_whitespace().count());
            let is_end = doc.is_some() && lines.peek().is_none_or(|(_, next)| next.is_none());
            if is_end && words < WORDS_MIN && !help.0.iter().any(|help| help.contains(&(at + 1))) {
                faults.push(source.at(at + 1, "says too little"));
            }
            words *= usize::from(!is_end);
        }
    }
    faults
}

fn doc_text(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
}

/// The lines of the items whose doc comments are help texts.
struct HelpLines(Vec<std::ops::RangeInclusive<usize>>);

impl HelpLines {
    fn add(&mut self, attributes: &[Attribute], item: &impl Spanned) {
        if derives_one_of(attributes, &HELP_DERIVES) {
            self.0.push(item.span().start().line..=item.span().end().line);
        }
    }
}

impl<'ast> Visit<'ast> for HelpLines {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.add(&item.attrs, item);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.add(&item.attrs, item);
    }
}

fn derives_one_of(attributes: &[Attribute], names: &[&str]) -> bool {
    let mut is_one = false;
    for derive in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let _ = derive.parse_nested_meta(|name| {
            is_one |= names.iter().any(|one| name.path.is_ident(one));
            Ok(())
        });
    }
    is_one
}

#[test]
fn types_finds_every_place_of_a_repeated_name() {
    let found = |path, text| faults(types, &[("app/a.rs", "struct Page;\nstruct State;"), (path, text)]);
    let twice = ["app/a.rs:1: `Page` is defined twice", "app/b.rs:2: `Page` is defined twice"];
    assert_eq!(found("app/b.rs", "\nenum Page {}"), twice);
    assert_eq!(found("commands/src/b.rs", "struct Page;").len(), 0, "another crate");
    assert_eq!(found("app/b.rs", "#[derive(Args, Command)]\nstruct Page;").len(), 0);
    assert_eq!(found("app/b.rs", "struct State;\nmod tests { struct Page; }").len(), 0);
}

#[test]
fn functions_finds_a_vague_verb() {
    let found = |text| faults(functions, &[("app/a.rs", text)]);
    assert_eq!(found("trait A {\n fn tell(&self);\n}"), ["app/a.rs:2: calls a function `tell`"]);
    assert_eq!(found("fn a() { fn say() {} }").len(), 1);
    assert_eq!(found("impl A { fn tell_all() { b.tell() } }").len(), 0);
}

#[test]
fn lengths_finds_a_file_of_401_lines() {
    let found = |lines| faults(lengths, &[("app/a.rs", &"\n".repeat(lines))]);
    assert_eq!(found(401), ["app/a.rs:401: is too long"]);
    assert_eq!(found(400).len(), 0);
}

#[test]
fn doc_widths_finds_a_doc_line_of_111_columns() {
    let found = |columns: usize| {
        let doc = format!("\n    /// {}\nstruct A;", "ü".repeat(columns - 8));
        faults(doc_widths, &[("app/a.rs", &doc)])
    };
    assert_eq!(found(111), ["app/a.rs:2: is too wide"]);
    assert_eq!(found(110).len(), 0);
}

#[test]
fn doc_words_finds_a_doc_comment_of_two_words() {
    let found = |text| faults(doc_words, &[("app/a.rs", text)]);
    assert_eq!(found("\n/// They may.\nstruct A;"), ["app/a.rs:2: says too little"]);
    assert_eq!(found("//! Two words.\n\n/// Three words here.\nstruct A;").len(), 1);
    assert_eq!(found("/// They may\n/// talk.\nstruct A;").len(), 0);
    assert_eq!(
        found("/// Greet somebody\n#[derive(Args, Command)]\nstruct A {\n /// How often\n b: u8 }").len(),
        0
    );
}
