//! Parsing of a command's arguments by clap.

use clap::{ArgMatches, Args, Command};

/// Arguments that clap parses: every type that derives [`clap::Args`].
///
/// `Via` tells two implementations apart, of which only that of [`ViaClap`] can apply.
///
/// The other one exists for the compiler: with a single blanket implementation it would complain that
/// `clap::Args` is missing, a trait that the reader of the message may never have heard of; with two it gives
/// the message below.
#[diagnostic::on_unimplemented(
    message = "`{Self}` derives Command but cannot parse arguments",
    label = "`Args` is missing here",
    note = "write `#[derive(Args, Command)]` above `{Self}`, also when it takes no arguments"
)]
pub trait ParseArgs<Via>: Sized {
    /// Adds the arguments to `command`.
    fn describe(command: Command) -> Command;

    /// Reads the arguments from clap's matches.
    ///
    /// # Errors
    /// When the matches do not come from the command that `describe` described.
    fn read(matches: &ArgMatches) -> Result<Self, clap::Error>;
}

/// The marker of the implementation for `#[derive(Args)]`.
#[derive(Debug)]
pub struct ViaClap;

impl<C: Args> ParseArgs<ViaClap> for C {
    fn describe(command: Command) -> Command {
        C::augment_args(command)
    }

    fn read(matches: &ArgMatches) -> Result<Self, clap::Error> {
        C::from_arg_matches(matches)
    }
}

struct Closed;

trait NeverImplemented: Args {}

impl<C: NeverImplemented> ParseArgs<Closed> for C {
    fn describe(command: Command) -> Command {
        C::augment_args(command)
    }

    fn read(matches: &ArgMatches) -> Result<Self, clap::Error> {
        C::from_arg_matches(matches)
    }
}
