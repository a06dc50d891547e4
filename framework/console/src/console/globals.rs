//! The global options, which every command has.

use clap::builder::Resettable;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::output::{ColorChoice, Verbosity};

const HEADING: &str = "Global options";

const HELP: &str = "global-help";
const VERSION: &str = "global-version";
const QUIET: &str = "global-quiet";
const VERBOSE: &str = "global-verbose";
const ANSI: &str = "global-ansi";
const NO_ANSI: &str = "global-no-ansi";
const NO_INTERACTION: &str = "global-no-interaction";

/// The values of the global options of a command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Globals {
    pub(super) help: bool,
    pub(super) version: bool,
    pub(super) quiet: bool,
    pub(super) verbose: u8,
    /// `Some(true)` for `--ansi`, `Some(false)` for `--no-ansi`.
    pub(super) ansi: Option<bool>,
    pub(super) no_interaction: bool,
}

impl Globals {
    /// Adds the global options to `command`.
    ///
    /// The command's own option of the same name takes precedence; the global option can then be given before
    /// the command's name.
    pub(super) fn declare(command: Command) -> Command {
        let command = command.disable_help_flag(true).disable_version_flag(true).version("");
        let options = options(ArgAction::HelpShort, ArgAction::Version);
        let options: Vec<_> = options.into_iter().filter_map(|option| untaken(&command, option)).collect();
        command.next_help_heading(HEADING).args(options)
    }

    /// Adds them for the words before the command's name, where `--help` cannot be answered yet.
    pub(super) fn declare_before_name(command: Command) -> Command {
        let command = command.disable_help_flag(true).disable_version_flag(true);
        command.args(options(ArgAction::SetTrue, ArgAction::SetTrue))
    }

    pub(super) fn read(matches: &ArgMatches) -> Self {
        let flag = |id| matches.try_get_one::<bool>(id).is_ok_and(|value| value == Some(&true));
        let verbose = matches.try_get_one::<u8>(VERBOSE).ok().flatten().copied().unwrap_or_default();
        let ansi = if flag(NO_ANSI) { Some(false) } else { flag(ANSI).then_some(true) };
        Self {
            help: flag(HELP),
            version: flag(VERSION),
            quiet: flag(QUIET),
            verbose,
            ansi,
            no_interaction: flag(NO_INTERACTION),
        }
    }

    /// These options joined with those after the command's name.
    pub(super) fn merge(self, later: Self) -> Self {
        Self {
            help: self.help || later.help,
            version: self.version || later.version,
            quiet: self.quiet || later.quiet,
            verbose: self.verbose.saturating_add(later.verbose),
            ansi: later.ansi.or(self.ansi),
            no_interaction: self.no_interaction || later.no_interaction,
        }
    }

    pub(super) fn verbosity(self) -> Verbosity {
        match self.verbose {
            _ if self.quiet => Verbosity::Quiet,
            0 => Verbosity::Normal,
            times => Verbosity::Verbose(times.min(3)),
        }
    }

    /// `--ansi` and `--no-ansi` take precedence over `NO_COLOR` and the like in the environment.
    pub(super) fn color_choice(self) -> ColorChoice {
        match self.ansi {
            Some(true) => ColorChoice::Always,
            Some(false) => ColorChoice::Never,
            None => ColorChoice::Auto,
        }
    }
}

/// The global options with their descriptions, for `list`.
pub fn global_options() -> Vec<(String, String)> {
    let names = |option: &Arg| match (option.get_id().as_str(), option.get_short(), option.get_long()) {
        (VERBOSE, ..) => "-v|-vv|-vvv, --verbose".to_owned(),
        (_, Some(short), Some(long)) => format!("-{short}, --{long}"),
        (_, _, long) => format!("    --{}", long.unwrap_or_default()),
    };
    let help = |option: &Arg| option.get_help().map(ToString::to_string).unwrap_or_default();
    options(ArgAction::SetTrue, ArgAction::SetTrue)
        .iter()
        .map(|option| (names(option), help(option)))
        .collect()
}

fn options(help: ArgAction, version: ArgAction) -> [Arg; 7] {
    let flag = |id, long, help| Arg::new(id).long(long).help(help).action(ArgAction::SetTrue);
    [
        flag(HELP, "help", "Show the help of a command").short('h').action(help),
        flag(VERSION, "version", "Show the version of the program").short('V').action(version),
        flag(QUIET, "quiet", "Print only results and errors").short('q'),
        flag(VERBOSE, "verbose", "Print more details; -vv and -vvv even more")
            .short('v')
            .action(ArgAction::Count),
        flag(ANSI, "ansi", "Force coloured output"),
        flag(NO_ANSI, "no-ansi", "Disable coloured output").overrides_with(ANSI),
        flag(NO_INTERACTION, "no-interaction", "Do not ask questions; take the defaults").short('n'),
    ]
}

/// The option without the names that `command` uses itself; `None` if it has none left.
fn untaken(command: &Command, mut option: Arg) -> Option<Arg> {
    let shorts =
        || command.get_arguments().flat_map(|own| own.get_short_and_visible_aliases().unwrap_or_default());
    let longs =
        || command.get_arguments().flat_map(|own| own.get_long_and_visible_aliases().unwrap_or_default());
    if option.get_short().is_some_and(|short| shorts().any(|own| own == short)) {
        option = option.short(Resettable::Reset);
    }
    if option.get_long().is_some_and(|long| longs().any(|own| own == long)) {
        option = option.long(Resettable::Reset);
    }
    (option.get_short().is_some() || option.get_long().is_some()).then_some(option)
}
