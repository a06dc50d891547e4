//! The variables of the environment that are settings: THINK_NAME_KEY.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::nearest::nearest;
use super::problem::{Origin, Problems};
use super::section::Registered;

const PREFIX: &str = "THINK_";
pub(super) const ROOT: &str = "THINK_ROOT";

/// Every `THINK_` variable but `THINK_ROOT`, as it was when the process asked.
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
                Ok(value) => variables.insert(name, value),
                Err(_) => bail!("{name}: its value is not UTF-8"),
            };
        }
        Ok(Self(variables))
    }

    pub(super) fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let settings = variables.into_iter().filter(|(name, _)| is_setting(name));
        Self(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The variables of one section: name, key and value.
    pub(super) fn of_section<'a>(
        &'a self,
        section: &'a str,
    ) -> impl Iterator<Item = (&'a str, String, &'a str)> {
        self.0.iter().filter_map(move |(name, value)| {
            let key = key_of(name, section)?;
            // `mail_queue` has a say before `mail` on THINK_MAIL_QUEUE_SIZE.
            let taken = Registered::all()
                .iter()
                .any(|other| other.name.len() > section.len() && key_of(name, other.name).is_some());
            (!taken).then(|| (name.as_str(), key.to_ascii_lowercase(), value.as_str()))
        })
    }

    /// The variables that belong to no section.
    pub(super) fn strays(&self, sections: &[&str]) -> Problems {
        let mut problems = Problems::default();
        for name in self.0.keys() {
            if sections.iter().all(|section| key_of(name, section).is_none()) {
                let message = format!("there is no such section{}", suggestion(name));
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
    name.starts_with(PREFIX) && name != ROOT
}

fn key_of<'a>(name: &'a str, section: &str) -> Option<&'a str> {
    name.strip_prefix(variable(section, "").as_str()).filter(|key| !key.is_empty())
}

fn suggestion(name: &str) -> String {
    let sections = Registered::all();
    let known: Vec<String> = sections
        .iter()
        .flat_map(|section| (section.keys)().into_iter().map(|key| variable(section.name, &key)))
        .chain([ROOT.to_owned()])
        .collect();
    // The prefix that all of them share would make all of them look alike.
    let known = known.iter().filter_map(|variable| variable.strip_prefix(PREFIX));
    match nearest(name.trim_start_matches(PREFIX), known) {
        Some(near) => format!("; did you mean {PREFIX}{near}?"),
        None => {
            let names: Vec<_> = sections.iter().map(|section| section.name).collect();
            format!("; a setting is THINK_SECTION_KEY, and the sections are: {}", names.join(", "))
        }
    }
}
