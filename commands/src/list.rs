//! `list`: what this program can do.

use framework::console::global_options;
use framework::output::{Style, Verbosity};
use framework::prelude::*;
use serde::Serialize;

/// List the commands
#[derive(Args, Command)]
#[command(name = "list")]
struct List {
    /// Only the commands of this group, such as `make`
    group: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Execute for List {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let registry = Registry::running(app).context("list is for commands that a console runs")?;
        let all: Vec<_> = registry.iter().map(Listed::of).collect();
        let commands: Vec<_> = all.iter().filter(|command| command.is_in(self.group.as_deref())).collect();
        if let (Some(group), true) = (&self.group, commands.is_empty()) {
            return Err(Exit::Usage.error(no_group(group, &all)));
        }
        if self.json {
            return Ok(output.json(&commands)?);
        }
        if self.group.is_none() {
            introduce(app, output);
        }
        print(&commands, self.group.as_deref(), output);
        Ok(())
    }
}

/// A command as `list` shows it.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    description: String,
    aliases: Vec<String>,
    package: &'static str,
    file: &'static str,
    line: u32,
}

impl Listed {
    fn of(entry: &'static CommandEntry) -> Self {
        let command = entry.describe();
        Self {
            name: entry.name,
            description: command.get_about().map(ToString::to_string).unwrap_or_default(),
            aliases: command.get_visible_aliases().map(str::to_owned).collect(),
            package: entry.package,
            file: entry.file,
            line: entry.line,
        }
    }

    fn group(&self) -> &'static str {
        self.name.split_once(':').map_or("", |(group, _)| group)
    }

    fn is_in(&self, group: Option<&str>) -> bool {
        group.is_none_or(|group| self.group() == group)
    }

    /// The description, and for the curious where the command comes from.
    fn text(&self, verbosity: Verbosity) -> String {
        let mut text = self.description.clone();
        if !self.aliases.is_empty() {
            text = format!("[{}] {text}", self.aliases.join("|"));
        }
        if verbosity >= Verbosity::Verbose(1) {
            text = format!("{text}  ({} {}:{})", self.package, self.file, self.line);
        }
        text
    }
}

fn no_group(wanted: &str, all: &[Listed]) -> String {
    let mut groups: Vec<_> = all.iter().map(Listed::group).filter(|group| !group.is_empty()).collect();
    groups.dedup();
    format!("there is no group of commands \"{wanted}\"; there are: {}", groups.join(", "))
}

fn introduce(app: &App, output: &mut Output) {
    let (heading, name) = (output.style(Style::Heading), output.style(Style::Name));
    let program = app.program();
    output.line(format_args!("{} {}\n", name.on(program.name), heading.on(program.version)));
    output.line(format_args!("{}\n  command [options] [arguments]\n", heading.on("Usage:")));
    output.line(heading.on("Global options:"));
    for (names, description) in global_options() {
        output.line(format_args!("  {}  {description}", name.on(format_args!("{names:<25}"))));
    }
    output.line("");
}

fn print(commands: &[&Listed], only: Option<&str>, output: &mut Output) {
    let (heading, name, verbosity) =
        (output.style(Style::Heading), output.style(Style::Name), output.verbosity());
    let width = commands.iter().map(|command| command.name.len()).max().unwrap_or(0);
    match only {
        Some(group) => output.line(heading.on(format_args!("Available commands of \"{group}\":"))),
        None => output.line(heading.on("Available commands:")),
    }
    let mut group = only.unwrap_or("");
    // Those without a group come first, whatever their names.
    let (plain, grouped): (Vec<&Listed>, Vec<&Listed>) =
        commands.iter().partition(|command| command.group().is_empty());
    for command in plain.into_iter().chain(grouped) {
        if command.group() != group {
            group = command.group();
            output.line(format_args!(" {}", heading.on(group)));
        }
        let line =
            format!("  {}  {}", name.on(format_args!("{:<width$}", command.name)), command.text(verbosity));
        output.line(line.trim_end());
    }
}
