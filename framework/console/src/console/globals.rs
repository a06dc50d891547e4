//! The options that every command has.

use clap::builder::Resettable;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::output::{Colours, Verbosity};

const HEADING: &str = "Global options";

const HELP: &str = "global-help";
const VERSION: &str = "global-version";
const QUIET: &str = "global-quiet";
const VERBOSE: &str = "global-verbose";
const ANSI: &str = "global-ansi";
const NO_ANSI: &str = "global-no-ansi";
const NO_INTERACTION: &str = "global-no-interaction";

/// What the global options of a command line came to.
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
    /// A name that the command uses for an option of its own stays the command's; before the command's name
    /// the global option can be had nevertheless.
    pub(super) fn declare(command: Command) -> Command {
        let command = command.disable_help_flag(true).disable_version_flag(true).version("");
        let options = options(ArgAction::HelpShort, ArgAction::Version);
        let options: Vec<_> = options.into_iter().filter_map(|option| untaken(&command, option)).collect();
        command.next_help_heading(HEADING).args(options)
    }

    /// Adds them where the command is not known yet, so that help has to wait for its name.
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

    /// These, and those that came after the command's name.
    pub(super) fn and(self, later: Self) -> Self {
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
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, times) => Verbosity::Verbose(times.min(3)),
        }
    }

    /// `--ansi` and `--no-ansi` are nearer to the user than the environment's `NO_COLOR`.
    pub(super) fn colours(self, no_color: bool) -> Colours {
        match self.ansi {
            Some(true) => Colours::Always,
            Some(false) => Colours::Never,
            None if no_color => Colours::Never,
            None => Colours::Auto,
        }
    }
}

/// The global options with their descriptions, as `list` shows them.
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
        flag(QUIET, "quiet", "Print results and errors alone").short('q'),
        flag(VERBOSE, "verbose", "Say more: -v, -vv for still more, -vvv for everything")
            .short('v')
            .action(ArgAction::Count),
        flag(ANSI, "ansi", "Colour the output, also when it is not a terminal"),
        flag(NO_ANSI, "no-ansi", "Do not colour the output").overrides_with(ANSI),
        flag(NO_INTERACTION, "no-interaction", "Ask no questions: take the defaults").short('n'),
    ]
}

/// The option without the names that `command` uses itself; `None` if nothing is left of it.
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
