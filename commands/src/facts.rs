//! Prints named values, one on each line.

use std::fmt::Display;

use framework::output::{Style, escape_control};
use framework::prelude::*;

/// Prints each value that is there behind its name. Values may come from outside: they are escaped.
pub(crate) fn print_facts(facts: &[(&str, Option<String>)], output: &mut Output) {
    for (name, value) in facts {
        if let Some(value) = value {
            print_fact(name, escape_control(value), output);
        }
    }
}

/// Prints one value as it is, colours included, behind its name.
pub(crate) fn print_fact(name: &str, value: impl Display, output: &mut Output) {
    let style = output.style(Style::Name);
    output.line(format_args!("{style}{name:<16}{style:#}{value}"));
}
