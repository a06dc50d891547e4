//! The variables of the environment that are settings: THINK_NAME_KEY.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::did_you_mean::did_you_mean;
use super::problem::{Origin, Problems};
use super::section::SectionEntry;

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
            let taken = SectionEntry::all()
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
    let sections = SectionEntry::all();
    let names: Vec<_> = sections.iter().map(|section| section.name).collect();
    let variables = sections
        .iter()
        .flat_map(|section| (section.keys)().into_iter().map(|key| variable(section.name, &key)))
        .chain([ROOT.to_owned()]);
    // The prefix that all of them share would make all of them look alike.
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
        Environment::of([(name, "")]).strays(&["sample"]).to_string()
    }

    #[test]
    fn a_stray_variable_is_told_what_it_was_meant_to_be() {
        assert!(stray("THINK_SAMPLE_PROT").is_empty(), "its section tells of its keys");
        assert!(stray("THINK_SAMPEL_PORT").ends_with("did you mean THINK_SAMPLE_PORT?"));
        assert!(stray("THINK_SAMPEL_X").ends_with("did you mean THINK_SAMPLE_X?"));
        assert!(stray("THINK_ROOTS").ends_with("did you mean THINK_ROOT?"));
        assert!(stray("THINK_SAMPLE_").contains("there is no such section"));
        assert!(stray("THINK_").contains("a setting is THINK_SECTION_KEY"));
    }
}
