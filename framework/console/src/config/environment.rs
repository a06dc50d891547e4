//! The settings in the environment: THINK_NAME_KEY.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::called::CALLED;
use super::did_you_mean::did_you_mean;
use super::problem::{Origin, Problems};

const PREFIX: &str = "THINK_";
pub(super) const ROOT: &str = "THINK_ROOT";
/// The setting of where everything is written, which also stands for a project.
pub(super) const RUNTIME_DIR: &str = "THINK_RUNTIME_DIR";
/// Set by the launcher for the process that it becomes: its pid, a colon, and the root that it stands in.
pub(super) const LAUNCHER: &str = "THINK_LAUNCHER";

/// Set by a server for the programs that it starts; in them they are no settings.
const OF_SERVER: [&str; 6] =
    ["THINK_SERVER", "THINK_WORKER", "THINK_FUNCTION", "THINK_TASK_ID", "THINK_ATTEMPT", "THINK_DEADLINE"];
/// What a program that a server starts has no use for: secrets of the server, and its service manager.
pub const NOT_FOR_PROGRAMS: [&str; 9] = [
    "THINK_SERVER_TOKENS",
    LAUNCHER,
    CALLED,
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// A section and its keys.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) keys: fn() -> Vec<String>,
}

/// Every `THINK_` variable but those that name the root, read once. An empty one counts as unset.
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "this is where `config` reads the environment")]
    pub(super) fn of_process() -> Result<Self> {
        let mut variables = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            if !is_setting(&name) {
                continue;
            }
            match value.into_string() {
                Ok(value) if value.is_empty() => None,
                Ok(value) => variables.insert(name, value),
                Err(_) => bail!("{name}: its value is not UTF-8"),
            };
        }
        Ok(Self(variables))
    }

    pub(super) fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let settings = variables.into_iter().filter(|(name, value)| is_setting(name) && !value.is_empty());
        Self(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The variables of one section among `sections`: name, key and value.
    pub(super) fn of_section(&self, section: &str, sections: &[&str]) -> Vec<(&str, String, &str)> {
        // THINK_MAIL_QUEUE_SIZE belongs to the section `mail_queue` rather than to `mail`.
        let longer: Vec<_> = sections.iter().filter(|other| other.len() > section.len()).collect();
        let variables = self.0.iter().filter_map(|(name, value)| {
            let key = key_of(name, section)?;
            let is_taken = longer.iter().any(|other| key_of(name, other).is_some());
            (!is_taken).then(|| (name.as_str(), key.to_ascii_lowercase(), value.as_str()))
        });
        variables.collect()
    }

    /// The variables that belong to none of `sections`; suggestions come from `known`.
    pub(super) fn strays(&self, sections: &[&str], known: &[Known]) -> Problems {
        let mut problems = Problems::default();
        for name in self.0.keys() {
            if sections.iter().all(|section| key_of(name, section).is_none()) {
                let message = format!("unknown section{}", suggestion(name, known));
                problems.add(Origin::Environment(name.clone()), message);
            }
        }
        problems
    }
}

/// The variable that sets a key.
pub(super) fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{section}_{key}").to_ascii_uppercase()
}

fn is_setting(name: &str) -> bool {
    name.starts_with(PREFIX)
        && name != ROOT
        && name != LAUNCHER
        && name != CALLED
        && !OF_SERVER.contains(&name)
}

fn key_of<'a>(name: &'a str, section: &str) -> Option<&'a str> {
    name.strip_prefix(variable(section, "").as_str()).filter(|key| !key.is_empty())
}

fn suggestion(name: &str, sections: &[Known]) -> String {
    let names: Vec<_> = sections.iter().map(|section| section.name).collect();
    let variables = sections
        .iter()
        .flat_map(|section| (section.keys)().into_iter().map(|key| variable(section.name, &key)))
        .chain([ROOT.to_owned()]);
    // Compared without the prefix, which would make all of them look alike.
    let known: Vec<_> = variables.map(|variable| variable[PREFIX.len()..].to_owned()).collect();
    let name = &name[PREFIX.len()..];
    let near_variable = did_you_mean(name, known.iter().map(String::as_str)).map(str::to_owned);
    let near_section = || {
        let mut splits = name.match_indices('_').map(|(end, _)| (&name[..end], &name[end..]));
        splits.find_map(|(section, key)| {
            Some(did_you_mean(section, names.iter().copied())?.to_ascii_uppercase() + key)
        })
    };
    match near_variable.or_else(near_section) {
        Some(near) => format!("; did you mean {PREFIX}{near}?"),
        None => format!("; a setting is THINK_SECTION_KEY, and the sections are: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stray(name: &str) -> String {
        let known = [Known { name: "sample", keys: || vec!["port".to_owned()] }];
        Environment::of([(name, "1")]).strays(&["sample"], &known).to_string()
    }

    #[test]
    fn empty_variable_counts_as_unset() {
        let environment = Environment::of([("THINK_SAMPLE_PORT", ""), ("THINK_SAMPEL_PORT", "")]);
        assert!(environment.of_section("sample", &["sample"]).is_empty());
        assert!(environment.strays(&["sample"], &[]).to_string().is_empty());
    }

    #[test]
    fn variable_of_a_program_that_a_server_starts_is_no_setting() {
        let environment = Environment::of(OF_SERVER.map(|name| (name, "1")));
        assert!(environment.strays(&["sample"], &[]).to_string().is_empty());
    }

    #[test]
    fn stray_variable_gets_a_suggestion() {
        assert!(stray("THINK_SAMPLE_PROT").is_empty(), "its section reports its keys");
        assert!(stray("THINK_SAMPEL_PORT").ends_with("did you mean THINK_SAMPLE_PORT?"));
        assert!(stray("THINK_SAMPEL_X").ends_with("did you mean THINK_SAMPLE_X?"));
        assert!(stray("THINK_ROOTS").ends_with("did you mean THINK_ROOT?"));
        assert!(stray("THINK_SAMPLE_").contains("unknown section"));
        assert!(stray("THINK_").contains("a setting is THINK_SECTION_KEY"));
    }
}
