//! `list`: the commands of the program, by group.

use framework::console::global_options;
use framework::output::{Style, Verbosity};
use framework::prelude::*;
use serde::Serialize;

/// List the commands
#[derive(Args, Command)]
#[command(name = "list")]
struct List {
    /// Only the commands of this group, such as make
    group: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Execute for List {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let registry = Registry::running(app).context("there is no console")?;
        let all: Vec<_> = registry.iter().map(ListedCommand::of).collect();
        let is_selected =
            |command: &&ListedCommand| self.group.as_deref().is_none_or(|group| command.group() == group);
        let mut commands: Vec<_> = all.iter().filter(is_selected).collect();
        if let (Some(group), true) = (&self.group, commands.is_empty()) {
            return Err(Exit::Usage.error(unknown_group(group, &all)));
        }
        if self.json {
            return Ok(output.json(&commands)?);
        }
        if self.group.is_none() {
            print_usage(app, output);
        }
        // Commands without a group come first, and the blocks of a group before the rest of it.
        commands
            .sort_by_key(|command| (command.group(), command.block.is_none(), command.block, command.name));
        print(&commands, self.group.as_deref(), output);
        Ok(())
    }
}

/// A command as `list` shows it.
#[derive(Serialize)]
struct ListedCommand {
    name: &'static str,
    description: String,
    /// The block of the group, if the command is not in the group's own.
    block: Option<&'static str>,
    aliases: Vec<String>,
    package: &'static str,
    file: &'static str,
    line: u32,
}

impl ListedCommand {
    fn of(entry: &'static CommandEntry) -> Self {
        let command = entry.describe();
        Self {
            name: entry.name,
            description: command.get_about().map(ToString::to_string).unwrap_or_default(),
            block: entry.block,
            aliases: command.get_visible_aliases().map(str::to_owned).collect(),
            package: entry.package,
            file: entry.file,
            line: entry.line,
        }
    }

    fn group(&self) -> &'static str {
        self.name.split_once(':').map_or("", |(group, _)| group)
    }

    /// The heading above the command: its group and block.
    fn heading(&self) -> String {
        match self.block {
            Some(block) => format!("{}: {block}", self.group()),
            None => self.group().to_owned(),
        }
    }

    /// The description, and with `-v` the place of the command's source.
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

fn unknown_group(wanted: &str, all: &[ListedCommand]) -> String {
    let mut groups: Vec<_> = all.iter().map(ListedCommand::group).filter(|group| !group.is_empty()).collect();
    groups.dedup();
    format!("unknown group of commands \"{wanted}\"; the groups are: {}", groups.join(", "))
}

fn print_usage(app: &App, output: &mut Output) {
    let (heading, name) = (output.style(Style::Heading), output.style(Style::Name));
    let program = app.program();
    output.line(format_args!("{name}{}{name:#} {heading}{}{heading:#}\n", program.name, program.version));
    output.line(format_args!("{heading}Usage:{heading:#}\n  command [options] [arguments]\n"));
    output.line(format_args!("{heading}Global options:{heading:#}"));
    for (names, description) in global_options() {
        output.line(format_args!("  {name}{names:<25}{name:#}  {description}"));
    }
    output.line("");
}

fn print(commands: &[&ListedCommand], only: Option<&str>, output: &mut Output) {
    let (heading, name) = (output.style(Style::Heading), output.style(Style::Name));
    let verbosity = output.verbosity();
    let width = commands.iter().map(|command| command.name.len()).max().unwrap_or(0);
    match only {
        Some(group) => {
            output.line(format_args!("{heading}Available commands of \"{group}\":{heading:#}"));
        }
        None => output.line(format_args!("{heading}Available commands:{heading:#}")),
    }
    let mut above = only.unwrap_or("").to_owned();
    for command in commands {
        let current = command.heading();
        if current != above {
            output.line(format_args!(" {heading}{current}{heading:#}"));
            above = current;
        }
        let line = format!("  {name}{:<width$}{name:#}  {}", command.name, command.text(verbosity));
        output.line(line.trim_end());
    }
}
