//! The rules of the house, held by reading its sources: who may import whom, and how a file looks.

mod crates;
mod imports;
mod layout;
mod modules;
mod source;
mod tokens;

use source::{Source, sources};

/// Checks that a rule is kept, and shows every line that breaks it.
#[track_caller]
fn holds(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// A file that nobody wrote.
fn made_up(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn a_module_of_the_framework_imports_only_what_stands_before_it() {
    holds(modules::reading_order(&sources()));
}

#[test]
fn every_module_of_the_framework_has_its_place() {
    holds(modules::places(&sources()));
}

#[test]
fn a_room_of_the_server_imports_only_later_rooms() {
    holds(modules::one_way(&sources()));
}

#[test]
fn the_application_and_the_built_in_commands_use_the_framework_and_never_each_other() {
    holds(crates::apart(&sources()));
}

#[test]
fn the_program_names_the_built_in_commands_so_that_the_linker_keeps_them() {
    holds(crates::linked(&sources()));
}

#[test]
fn the_framework_names_no_command() {
    holds(crates::no_command_by_name(&sources()));
}

#[test]
fn a_store_opens_no_socket() {
    holds(crates::no_socket_in_a_store(&sources()));
}

#[test]
fn only_the_configuration_reads_the_environment_and_only_the_output_prints() {
    holds(crates::exempt_from_lints(&sources()));
}

#[test]
fn every_crate_keeps_the_lints_of_the_house() {
    holds(layout::lints());
}

#[test]
fn a_file_opens_with_one_sentence() {
    holds(layout::first_lines(&sources()));
}

#[test]
fn no_file_is_longer_than_400_lines() {
    holds(layout::lengths(&sources()));
}

#[test]
fn a_file_is_named_for_what_it_holds() {
    holds(layout::names(&sources()));
}

#[test]
fn the_top_of_the_house_holds_nothing_else() {
    holds(layout::top());
}
