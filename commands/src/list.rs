//! `list`: the commands of the program, by group.

mod listed_command;
mod markdown;

use framework::clap::{self, ValueEnum};
use framework::command::Plugin;
use framework::console::global_options;
use framework::output::Style;
use framework::prelude::*;

use self::listed_command::ListedCommand;

/// List the commands
///
/// With --format, programs and documents get all arguments and options of each command; --short leaves them
/// out.
#[derive(Args, Command)]
#[command(name = "list")]
struct List {
    /// Only the commands of this group, such as make
    group: Option<String>,
    /// Format: text, JSON for programs, or Markdown
    #[arg(long, default_value = "txt")]
    format: Format,
    /// Print JSON, as --format=json
    #[arg(long, conflicts_with_all = ["format", "raw"])]
    json: bool,
    /// Print only names and descriptions, a line each
    #[arg(long, conflicts_with = "format")]
    raw: bool,
    /// Leave out arguments and options
    #[arg(long)]
    short: bool,
}

/// How `list` prints the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Txt,
    Json,
    Md,
}

impl Execute for List {
    const RESERVED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let registry = Registry::running(app).context("there is no console")?;
        let format = if self.json { Format::Json } else { self.format };
        let plugins =
            Plugin::all(app.program().name).into_iter().filter(|plugin| registry.get(&plugin.name).is_none());
        let all: Vec<_> = registry
            .iter()
            .map(|entry| match format {
                Format::Json | Format::Md if !self.short => ListedCommand::defined(entry, app.program().name),
                _ => ListedCommand::of(entry),
            })
            .chain(plugins.map(ListedCommand::of_plugin))
            .collect();
        let commands = self.select(all)?;
        match format {
            Format::Json => output.json(&commands)?,
            Format::Md => markdown::print(&commands, app, output),
            Format::Txt if self.raw => print_raw(&commands, output),
            Format::Txt => print(&commands, self.group.as_deref(), app, output),
        }
        Ok(())
    }
}

impl List {
    /// The commands of the group, in the order in which they are shown: those without a group first, and the
    /// blocks of a group before the rest of it.
    fn select(&self, all: Vec<ListedCommand>) -> Result<Vec<ListedCommand>> {
        let groups = all.iter().map(|command| command.group().to_owned());
        let mut groups: Vec<_> = groups.filter(|group| !group.is_empty()).collect();
        groups.sort();
        let wanted = self.group.as_deref();
        let mut commands = all;
        commands.retain(|command| wanted.is_none_or(|group| command.group() == group));
        if let (Some(group), true) = (wanted, commands.is_empty()) {
            groups.dedup();
            return Err(Exit::Usage.error(format!(
                "unknown group of commands \"{group}\"; the groups are: {}",
                groups.join(", ")
            )));
        }
        commands.sort_by(|one, other| order(one).cmp(&order(other)));
        Ok(commands)
    }
}

fn order(command: &ListedCommand) -> impl Ord + '_ {
    (command.group(), command.block.is_none(), command.block, &*command.name)
}

fn print_usage(app: &App, output: &mut Output) {
    let (heading, name) = (output.style(Style::Heading), output.style(Style::Name));
    let program = app.program();
    output.line(format_args!("{name}{}{name:#} {heading}{}{heading:#}\n", program.name, program.version));
    output.line(format_args!("{heading}Usage:{heading:#}\n  command [options] [arguments]\n"));
    output.line(format_args!("{heading}Global options:{heading:#}"));
    output.definitions(&global_options());
    output.line("");
}

fn print(commands: &[ListedCommand], only: Option<&str>, app: &App, output: &mut Output) {
    let heading = output.style(Style::Heading);
    let verbosity = output.verbosity();
    let width = commands.iter().map(|command| command.name.len()).max().unwrap_or(0);
    match only {
        Some(group) => {
            output.line(format_args!("{heading}Available commands of \"{group}\":{heading:#}"));
        }
        None => {
            print_usage(app, output);
            output.line(format_args!("{heading}Available commands:{heading:#}"));
        }
    }
    let only = only.unwrap_or("");
    for block in commands.chunk_by(|one, other| one.heading() == other.heading()) {
        if block[0].heading() != only {
            output.line(format_args!(" {heading}{}{heading:#}", block[0].heading()));
        }
        let entry = |command: &ListedCommand| (command.name.to_string(), command.text(verbosity));
        output.definitions_at(width, &block.iter().map(entry).collect::<Vec<_>>());
    }
}

/// Aligned and never wrapped, for scripts.
fn print_raw(commands: &[ListedCommand], output: &mut Output) {
    let width = commands.iter().map(|command| command.name.len()).max().unwrap_or(0);
    for command in commands {
        output.line(format_args!("{:width$}  {}", command.name, command.description));
    }
}
