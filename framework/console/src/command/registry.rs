//! All commands, found by name, alias or abbreviation.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr;

use super::name::check_name;
use super::{BadName, CommandEntry, CommandRegistration, Exit};
use crate::app::App;
use crate::config::did_you_mean;

/// The command that names all others; it comes with the built-in ones.
const LIST: &str = "list";

/// All commands, sorted by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    commands: BTreeMap<&'static str, &'static CommandEntry>,
    aliases: BTreeMap<String, &'static CommandEntry>,
    /// The names of commands that help and suggestions leave out.
    hidden: Vec<&'static str>,
    problems: Vec<RegistryError>,
}

/// An error in the set of a program's commands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Neither of the two has the name, unless one of them is
    /// [`Execute::RESERVED`](super::Execute::RESERVED).
    #[error("two commands are named \"{name}\": {first} and {second}; rename one of them")]
    Clash { name: String, first: String, second: String },
    #[error("{place}: {error}")]
    Name { place: String, error: BadName },
}

/// The error for a name that does not lead to one command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    #[error("there is no command \"{wanted}\"{}", suggestion(suggestions))]
    Unknown { wanted: String, suggestions: Vec<&'static str> },
    #[error("{}", without_list(wanted, own))]
    NoList { wanted: String, own: Vec<&'static str> },
    #[error("\"{wanted}\" is ambiguous; it matches:{}", lines(candidates))]
    Ambiguous { wanted: String, candidates: Vec<&'static str> },
    #[error("\"{wanted}\" is a group of commands; name one of them:{}", lines(candidates))]
    Group { wanted: String, candidates: Vec<&'static str> },
    #[error(transparent)]
    Clash(RegistryError),
}

impl Registry {
    /// Every command that a `#[derive(Command)]` in this program registered.
    pub fn collect() -> Self {
        Self::of(Self::registered())
    }

    /// The entries that registered themselves, in no particular order.
    pub fn registered() -> impl Iterator<Item = &'static CommandEntry> {
        inventory::iter::<CommandRegistration>.into_iter().map(|registration| registration.0)
    }

    /// A registry of just these entries; one that comes twice counts once.
    pub fn of(entries: impl IntoIterator<Item = &'static CommandEntry>) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        // The linker's order is arbitrary: an error has to be the same in every build.
        entries.sort_by_key(|entry| (entry.name, entry.file, entry.line, ptr::from_ref(*entry)));
        entries.dedup_by(|one, other| ptr::eq(*one, *other));
        let mut registry = Self::default();
        for same_name in entries.chunk_by(|one, other| one.name == other.name) {
            registry.add(same_name);
        }
        registry.add_aliases();
        registry
    }

    /// The errors in the set of commands. All other commands are there.
    pub fn problems(&self) -> &[RegistryError] {
        &self.problems
    }

    /// The command of exactly this name or alias.
    pub fn get(&self, name: &str) -> Option<&'static CommandEntry> {
        self.commands.get(name).or_else(|| self.aliases.get(name)).copied()
    }

    /// The registry of the console that runs this command.
    pub fn running(app: &App) -> Option<&Self> {
        app.get()
    }

    /// The command of this name or alias, or the only one that it abbreviates part by part.
    ///
    /// # Errors
    /// When there is none or more than one: the error lists the candidates.
    pub fn find(&self, wanted: &str) -> Result<&'static CommandEntry, NotFound> {
        if let Some(entry) = self.get(wanted) {
            return Ok(entry);
        }
        let is_claimed =
            |problem: &&RegistryError| matches!(problem, RegistryError::Clash { name, .. } if name == wanted);
        if let Some(clash) = self.problems.iter().find(is_claimed) {
            return Err(NotFound::Clash(clash.clone()));
        }
        let names = || self.iter().map(|entry| entry.name);
        let candidates: Vec<_> = names().filter(|name| abbreviates(wanted, name)).collect();
        let wanted = wanted.to_owned();
        match candidates.as_slice() {
            [only] => Ok(self.commands[only]),
            [] => {
                let group: Vec<_> = names().filter(|name| begins(&wanted, name)).collect();
                if group.is_empty() && !self.commands.contains_key(LIST) {
                    Err(NotFound::NoList { wanted, own: names().collect() })
                } else if group.is_empty() {
                    Err(NotFound::Unknown { suggestions: self.suggestions(&wanted), wanted })
                } else {
                    Err(NotFound::Group { candidates: group, wanted })
                }
            }
            _ => Err(NotFound::Ambiguous { candidates, wanted }),
        }
    }

    /// The commands that are not hidden, by name.
    pub fn iter(&self) -> impl Iterator<Item = &'static CommandEntry> {
        self.commands.values().copied().filter(|entry| !self.hidden.contains(&entry.name))
    }

    /// The names that `wanted` was probably meant to be.
    fn suggestions(&self, wanted: &str) -> Vec<&'static str> {
        let names = || self.iter().map(|entry| entry.name);
        let same_last_part = names().filter(|name| name.rsplit(':').next() == Some(wanted));
        let mut suggestions: Vec<_> = same_last_part.chain(did_you_mean(wanted, names())).collect();
        suggestions.dedup();
        suggestions
    }

    /// Adds one of the entries of a name: the only one, or the only reserved one.
    fn add(&mut self, same_name: &[&'static CommandEntry]) {
        let [first, others @ ..] = same_name else { return };
        if let Err(error) = check_name(first.name) {
            return self.problems.push(RegistryError::Name { place: first.place(), error });
        }
        for other in others {
            self.problems.push(RegistryError::clash(first.name, first, other));
        }
        let mut reserved = same_name.iter().filter(|entry| entry.reserved);
        let kept = match (others, reserved.next(), reserved.next()) {
            ([], ..) => first,
            (_, Some(only), None) => only,
            _ => return,
        };
        self.commands.insert(kept.name, kept);
        if kept.describe().is_hide_set() {
            self.hidden.push(kept.name);
        }
    }

    /// Adds the aliases that no other command has as its name or alias.
    fn add_aliases(&mut self) {
        let mut claimed = BTreeSet::new();
        for entry in self.commands.values().copied() {
            for alias in entry.describe().get_all_aliases() {
                if let Err(error) = check_name(alias) {
                    self.problems.push(RegistryError::Name { place: entry.place(), error });
                } else if let Some(other) = self.commands.get(alias).or_else(|| self.aliases.get(alias)) {
                    self.problems.push(RegistryError::clash(alias, other, entry));
                    claimed.insert(alias.to_owned());
                } else {
                    self.aliases.insert(alias.to_owned(), entry);
                }
            }
        }
        self.aliases.retain(|alias, _| !claimed.contains(alias));
    }
}

impl RegistryError {
    fn clash(name: &str, first: &CommandEntry, second: &CommandEntry) -> Self {
        Self::Clash { name: name.to_owned(), first: first.place(), second: second.place() }
    }
}

impl NotFound {
    /// The exit code of a command line with such a name.
    pub fn exit(&self) -> Exit {
        if matches!(self, Self::Clash(_) | Self::NoList { .. }) { Exit::Failed } else { Exit::Usage }
    }
}

/// Whether each part of `short` begins the part of `name` that stands in its place.
fn abbreviates(short: &str, name: &str) -> bool {
    short.split(':').count() == name.split(':').count() && begins(short, name)
}

fn begins(short: &str, name: &str) -> bool {
    let mut parts = name.split(':');
    short
        .split(':')
        .all(|short| !short.is_empty() && parts.next().is_some_and(|part| part.starts_with(short)))
}

fn suggestion(names: &[&str]) -> String {
    match names {
        [] => "; `list` shows all commands".to_owned(),
        [only] => format!(". Did you mean \"{only}\"?"),
        _ => format!(". Did you mean one of these?{}", lines(names)),
    }
}

/// The error of a program without the built-in commands, which its author has probably not linked.
fn without_list(wanted: &str, own: &[&str]) -> String {
    let own = if own.is_empty() { String::new() } else { format!("; its own commands are:{}", lines(own)) };
    format!(
        "there is no command \"{wanted}\", because this program does not contain the built-in commands: write `use \
         commands as _;` in its main.rs, without which the linker drops them{own}"
    )
}

fn lines(names: &[&str]) -> String {
    names.iter().map(|name| format!("\n  {name}")).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use clap::Args;

    use super::*;
    use crate::command::Execute;
    use crate::output::Output;

    #[derive(Args)]
    struct Plain;

    #[derive(Args)]
    #[command(alias = "l")]
    struct Aliased;

    #[derive(Args)]
    #[command(hide = true)]
    struct Hidden;

    macro_rules! does_nothing {
        ($($command:ident)*) => {$(
            impl Execute for $command {
                async fn execute(self, _: &App, _: &mut Output) -> Result<()> {
                    Ok(())
                }
            }
        )*};
    }
    does_nothing!(Plain Aliased Hidden);

    #[derive(Args)]
    struct Keeping;

    impl Execute for Keeping {
        const RESERVED: bool = true;

        async fn execute(self, _: &App, _: &mut Output) -> Result<()> {
            Ok(())
        }
    }

    static START: CommandEntry = CommandEntry::of::<Plain, _>("task:start", "app", "app/start.rs", 3);
    static STATUS: CommandEntry = CommandEntry::of::<Plain, _>("task:status", "app", "app/status.rs", 3);
    static STOP: CommandEntry = CommandEntry::of::<Plain, _>("task:stop", "app", "app/stop.rs", 3);
    static HELLO: CommandEntry = CommandEntry::of::<Plain, _>("demo:hello", "app", "app/hello.rs", 3);
    static LIST: CommandEntry = CommandEntry::of::<Aliased, _>("list", "app", "app/list.rs", 3);
    static SECRET: CommandEntry = CommandEntry::of::<Hidden, _>("secret", "app", "app/secret.rs", 3);

    fn registry() -> Registry {
        Registry::of([&STOP, &HELLO, &SECRET, &START, &LIST, &STATUS])
    }

    fn found(wanted: &str) -> &'static str {
        registry().find(wanted).unwrap().name
    }

    fn missed(wanted: &str) -> NotFound {
        registry().find(wanted).unwrap_err()
    }

    #[test]
    fn iter_sorts_commands_by_name_and_leaves_out_hidden_ones() {
        let names: Vec<_> = registry().iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["demo:hello", "list", "task:start", "task:status", "task:stop"]);
    }

    #[test]
    fn find_takes_a_name_an_alias_or_an_abbreviation() {
        assert_eq!(found("task:start"), "task:start");
        assert_eq!(found("l"), "list");
        assert_eq!(found("li"), "list");
        assert_eq!(found("t:sto"), "task:stop");
        assert_eq!(found("secret"), "secret");
    }

    #[test]
    fn find_lists_the_candidates_of_an_ambiguous_abbreviation() {
        assert_eq!(
            missed("task:sta").to_string(),
            "\"task:sta\" is ambiguous; it matches:\n  task:start\n  task:status"
        );
    }

    #[test]
    fn find_never_takes_the_name_of_a_group_for_its_only_command() {
        assert!(matches!(missed("demo"), NotFound::Group { candidates, .. } if candidates == ["demo:hello"]));
    }

    #[test]
    fn find_suggests_a_similar_name() {
        assert_eq!(
            missed("task:strat").to_string(),
            "there is no command \"task:strat\". Did you mean \"task:start\"?"
        );
        assert!(
            matches!(missed("hello"), NotFound::Unknown { suggestions, .. } if suggestions == ["demo:hello"])
        );
        assert!(missed("xyz").to_string().ends_with("`list` shows all commands"));
    }

    #[test]
    fn find_ignores_empty_parts_and_does_not_suggest_hidden_commands() {
        for wanted in ["", ":", "task:", "secre", "secrte"] {
            assert!(matches!(missed(wanted), NotFound::Unknown { .. }), "{wanted}");
        }
    }

    static OTHER: CommandEntry = CommandEntry::of::<Plain, _>("task:stop", "other", "other/stop.rs", 9);

    #[test]
    fn registry_names_both_places_of_a_duplicate_name_and_keeps_the_other_commands() {
        let registry = Registry::of([&OTHER, &STOP, &START]);
        let error =
            "two commands are named \"task:stop\": app/stop.rs:3 and other/stop.rs:9; rename one of them";
        assert_eq!(registry.problems().iter().map(ToString::to_string).collect::<Vec<_>>(), [error]);
        assert_eq!(registry.find("task:stop").unwrap_err().to_string(), error);
        assert_eq!(registry.find("task:start").unwrap().name, "task:start");
    }

    #[test]
    fn registry_keeps_the_reserved_one_of_two_commands() {
        static RESERVED: CommandEntry = CommandEntry::of::<Keeping, _>("task:stop", "own", "own/stop.rs", 1);
        let registry = Registry::of([&OTHER, &RESERVED, &STOP]);
        assert_eq!(registry.find("task:stop").unwrap().package, "own");
        assert_eq!(registry.problems().len(), 2);
    }

    #[test]
    fn registry_refuses_an_alias_that_is_taken() {
        static NAMED: CommandEntry = CommandEntry::of::<Plain, _>("l", "other", "other/l.rs", 9);
        static ALIASED: CommandEntry = CommandEntry::of::<Aliased, _>("look", "other", "other/look.rs", 9);
        let named = Registry::of([&NAMED, &LIST]);
        assert_eq!((named.find("l").unwrap().name, named.problems().len()), ("l", 1));
        let twice = Registry::of([&ALIASED, &LIST]);
        assert!(matches!(twice.find("l"), Err(NotFound::Clash(_))));
        assert!(twice.find("list").is_ok() && twice.find("look").is_ok());
    }

    #[test]
    fn registry_without_list_says_how_to_link_the_built_in_commands() {
        let error = Registry::of([&HELLO]).find("list").unwrap_err().to_string();
        assert!(error.contains("`use commands as _;`") && error.ends_with("\n  demo:hello"), "{error}");
    }

    #[test]
    fn registry_counts_a_command_registered_twice_once() {
        assert_eq!(Registry::of([&STOP, &STOP]).iter().count(), 1);
    }

    #[test]
    fn registry_names_the_place_of_a_bad_name() {
        static BAD: CommandEntry = CommandEntry::of::<Plain, _>("Task Stop", "app", "app/bad.rs", 7);
        let error = Registry::of([&BAD]).problems()[0].to_string();
        assert!(error.starts_with("app/bad.rs:7: \"Task Stop\" is not a valid command name"), "{error}");
    }
}
