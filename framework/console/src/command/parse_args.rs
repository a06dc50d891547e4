//! How a command reads its arguments.

use clap::{ArgMatches, Args, Command};

/// Arguments that can be described to clap and read back from it: whatever derives [`clap::Args`].
///
/// There are two ways to implement it, and only one of them is open. The other is here for the compiler: with
/// a single blanket implementation it would complain that `clap::Args` is missing, a trait of which the
/// reader of the message may never have heard; with two it gives the message below.
#[diagnostic::on_unimplemented(
    message = "`{Self}` derives Command but cannot read arguments",
    label = "`Args` is missing here",
    note = "write `#[derive(Args, Command)]` above `{Self}`, also when it takes no arguments"
)]
pub trait ParseArgs<Way>: Sized {
    /// Adds the arguments to `command`.
    fn describe(command: Command) -> Command;

    /// # Errors
    /// When clap's matches do not come from the command that `describe` described.
    fn read(matches: &ArgMatches) -> Result<Self, clap::Error>;
}

/// The way of `#[derive(Args)]`.
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
