//! The commands as a document in Markdown.

use framework::console::global_options;
use framework::prelude::*;

use super::listed_command::{Definition, ListedCommand, Parameter};

/// Prints an index, and a chapter for each command that has its definition.
pub(super) fn print(commands: &[ListedCommand], app: &App, output: &mut Output) {
    let program = app.program();
    output.line(format_args!("# {} {}\n", program.name, program.version));
    for command in commands {
        let name = &command.name;
        match command.definition {
            Some(_) => output.line(format_args!("- [`{name}`](#{}): {}", anchor(name), command.description)),
            None => output.line(format_args!("- `{name}`: {}", command.description)),
        }
    }
    let defined = || commands.iter().filter_map(|command| Some((command, command.definition.as_ref()?)));
    for (command, definition) in defined() {
        chapter(command, definition, output);
    }
    if defined().next().is_some() {
        output.line("\n## Global options\n");
        for (names, description) in global_options() {
            output.line(format_args!("- `{}`: {description}", names.trim_start()));
        }
    }
}

fn chapter(command: &ListedCommand, definition: &Definition, output: &mut Output) {
    output.line(format_args!("\n## {}\n\n{}\n", command.name, command.description));
    output.line(format_args!("```sh\n{}\n```", definition.usage));
    for (heading, parameters) in [("Arguments", &definition.arguments), ("Options", &definition.options)] {
        if !parameters.is_empty() {
            output.line(format_args!("\n### {heading} of {}\n", command.name));
        }
        parameters.iter().for_each(|parameter| output.line(item(parameter)));
    }
}

fn item(parameter: &Parameter) -> String {
    let list =
        |values: &[String]| values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
    let mut notes = Vec::new();
    if parameter.required {
        notes.push("required".to_owned());
    }
    if parameter.multiple {
        notes.push("may be repeated".to_owned());
    }
    if !parameter.values.is_empty() {
        notes.push(format!("one of {}", list(&parameter.values)));
    }
    if !parameter.default.is_empty() {
        notes.push(format!("default {}", list(&parameter.default)));
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    format!("- `{}`: {}{notes}", parameter.synopsis, parameter.description)
}

/// The anchor that GitHub and others give to a heading.
fn anchor(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_');
    heading.to_lowercase().chars().filter(kept).collect()
}
