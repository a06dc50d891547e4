//! What neither Cargo nor the compiler checks: the import order within a crate, and how the sources look.

mod crates;
mod features;
mod imports;
mod modules;
mod source;
mod style;

use source::{Source, sources};

/// Panics with every place that breaks a rule.
#[track_caller]
fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// The faults that a rule finds in made-up sources: paths with their text.
fn faults(rule: fn(&[Source]) -> Vec<String>, sources: &[(&str, &str)]) -> Vec<String> {
    let source = |(path, text): &(&str, &str)| Source { path: (*path).to_owned(), text: (*text).to_owned() };
    rule(&sources.iter().map(source).collect::<Vec<_>>())
}

#[test]
fn crate_depends_only_on_crates_of_earlier_layers() {
    assert_none(&crates::layers(&crates::metadata()));
}

#[test]
fn app_names_commands_only_to_link_them() {
    assert_none(&crates::linked_commands(&sources()));
}

#[test]
fn module_imports_only_modules_listed_before_it() {
    assert_none(&modules::reading_order(&sources()));
}

#[test]
fn server_stage_imports_only_later_stages() {
    assert_none(&modules::stages(&sources()));
}

#[test]
fn file_is_in_no_import_cycle() {
    assert_none(&modules::cycles(&sources()));
}

#[test]
fn type_name_is_unique_within_a_crate() {
    assert_none(&style::types(&sources()));
}

#[test]
fn function_name_is_no_vague_verb() {
    assert_none(&style::functions(&sources()));
}

#[test]
fn file_has_at_most_400_lines() {
    assert_none(&style::lengths(&sources()));
}

#[test]
fn doc_line_fits_110_columns() {
    assert_none(&style::doc_widths(&sources()));
}

#[test]
fn doc_comment_has_at_least_three_words() {
    assert_none(&style::doc_words(&sources()));
}
