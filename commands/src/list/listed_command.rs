//! A command as `list` shows it.

use std::borrow::Cow;

use framework::clap::{Arg, ArgAction, Command as Described};
use framework::command::{CommandEntry, Plugin};
use framework::output::{Verbosity, escape_control};
use serde::Serialize;

/// A command as `list` shows it.
#[derive(Serialize)]
pub(super) struct ListedCommand {
    pub(super) name: Cow<'static, str>,
    pub(super) description: String,
    /// The block of the group, if the command is not in the group's own.
    pub(super) block: Option<&'static str>,
    aliases: Vec<String>,
    package: &'static str,
    /// The source of the command, or the program that it is.
    file: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// `None` with `--short`.
    #[serde(flatten)]
    pub(super) definition: Option<Definition>,
}

/// The usage of a command, its arguments and options; the global options are left out.
#[derive(Serialize)]
pub(super) struct Definition {
    pub(super) usage: String,
    pub(super) arguments: Vec<Parameter>,
    pub(super) options: Vec<Parameter>,
}

/// An argument or an option.
#[derive(Serialize)]
pub(super) struct Parameter {
    /// What is typed: `<NAME>`, or `-t, --times <TIMES>`.
    pub(super) synopsis: String,
    pub(super) description: String,
    pub(super) required: bool,
    pub(super) multiple: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) default: Vec<String>,
    /// The only values, if they are few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) values: Vec<String>,
}

impl ListedCommand {
    pub(super) fn of(entry: &'static CommandEntry) -> Self {
        let command = entry.describe();
        Self {
            name: entry.name.into(),
            description: command.get_about().map(ToString::to_string).unwrap_or_default(),
            block: entry.block,
            aliases: command.get_visible_aliases().map(str::to_owned).collect(),
            package: entry.package,
            file: entry.file.into(),
            line: Some(entry.line),
            definition: None,
        }
    }

    /// The same with its usage, as this program is called.
    pub(super) fn defined(entry: &'static CommandEntry, program: &str) -> Self {
        let command = entry.describe().bin_name(format!("{program} {}", entry.name));
        Self { definition: Some(Definition::of(command)), ..Self::of(entry) }
    }

    /// A program of its own on the path.
    pub(super) fn of_plugin(plugin: Plugin) -> Self {
        let path = escape_control(&plugin.path.to_string_lossy()).into_owned();
        Self {
            name: plugin.name.into(),
            description: format!("Run the program {path}"),
            block: None,
            aliases: Vec::new(),
            package: "plugin",
            file: path.into(),
            line: None,
            definition: None,
        }
    }

    pub(super) fn group(&self) -> &str {
        self.name.split_once(':').map_or("", |(group, _)| group)
    }

    /// The heading above the command: its group and block.
    pub(super) fn heading(&self) -> String {
        match self.block {
            Some(block) => format!("{}: {block}", self.group()),
            None => self.group().to_owned(),
        }
    }

    /// The description, and with `-v` the place of the command's source.
    pub(super) fn text(&self, verbosity: Verbosity) -> String {
        let mut text = self.description.clone();
        if !self.aliases.is_empty() {
            text = format!("[{}] {text}", self.aliases.join("|"));
        }
        if verbosity >= Verbosity::Verbose(1) {
            let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
            text = format!("{text}  ({} {}{line})", self.package, self.file);
        }
        text
    }
}

impl Definition {
    fn of(mut command: Described) -> Self {
        let usage = command.render_usage().to_string();
        let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set());
        let (arguments, options) = shown().partition::<Vec<_>, _>(|arg| arg.is_positional());
        let parameters = |args: Vec<&Arg>| args.into_iter().map(Parameter::of).collect();
        Self {
            usage: usage.trim_start_matches("Usage: ").to_owned(),
            arguments: parameters(arguments),
            options: parameters(options),
        }
    }
}

impl Parameter {
    fn of(arg: &Arg) -> Self {
        let many = arg.get_num_args().is_some_and(|count| count.max_values() > 1);
        let takes_values = arg.get_num_args().is_none_or(|count| count.takes_values());
        let takes_values = takes_values && matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        let values = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        Self {
            synopsis: synopsis(arg, takes_values),
            description: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            required: arg.is_required_set(),
            multiple: many || matches!(arg.get_action(), ArgAction::Append | ArgAction::Count),
            default: if takes_values { defaults(arg) } else { Vec::new() },
            values: if takes_values { values } else { Vec::new() },
        }
    }
}

fn defaults(arg: &Arg) -> Vec<String> {
    arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect()
}

fn synopsis(arg: &Arg, takes_values: bool) -> String {
    let id = || vec![arg.get_id().as_str().to_uppercase()];
    let names = arg.get_value_names().map(|names| names.iter().map(ToString::to_string).collect());
    let values = || names.unwrap_or_else(id).iter().map(|name| format!(" <{name}>")).collect::<String>();
    let flags = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, Some(long)) => format!("--{long}"),
        (None, None) => return values().trim_start().to_owned(),
    };
    if takes_values { flags + &values() } else { flags }
}
