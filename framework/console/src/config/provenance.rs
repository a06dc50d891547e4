//! The effective settings and where each of them comes from, for `config:show`.

use std::fs;

use super::did_you_mean::did_you_mean;
use super::problem::{Origin, Problems};
use super::schema_fields::fields;
use super::section::{Section, SectionEntry};
use super::{Config, read};

/// One section, or what is wrong with it.
#[derive(Debug)]
pub struct Provenance {
    pub section: &'static str,
    pub settings: Result<Vec<Setting>, Problems>,
}

/// One effective value; secrets are hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub key: String,
    /// `null` is a setting that is not set.
    pub value: serde_json::Value,
    pub origin: Origin,
}

impl Config {
    /// Every registered section, by name.
    pub fn explain(&self) -> Vec<Provenance> {
        let explain =
            |section: &&SectionEntry| Provenance { section: section.name, settings: (section.explain)(self) };
        SectionEntry::all().iter().map(explain).collect()
    }

    /// Files and variables that belong to no registered section.
    pub fn strays(&self) -> Problems {
        self.strays_beside(None)
    }

    /// Likewise, where one more section is known.
    pub(super) fn strays_beside(&self, known: Option<&'static str>) -> Problems {
        let registered = SectionEntry::all().into_iter().map(|section| section.name);
        let sections: Vec<_> = registered.chain(known).collect();
        let mut problems = self.sources.environment.strays(&sections);
        for name in self.file_names().filter(|name| !sections.contains(&name.as_str())) {
            let message = match did_you_mean(&name, sections.iter().copied()) {
                Some(near) => format!("there is no section `{name}`; did you mean config/{near}.toml?"),
                None => format!("there is no section `{name}`; the sections are: {}", sections.join(", ")),
            };
            problems.add(Origin::File(format!("config/{name}.toml")), message);
        }
        problems
    }

    /// The names of the files in `config/`, without `.toml`. A directory that is missing or closed has none: the
    /// sections' own files report why.
    fn file_names(&self) -> impl Iterator<Item = String> {
        let files = fs::read_dir(self.root().join("config")).into_iter().flatten().flatten();
        files.filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            name.strip_suffix(".toml").filter(|name| !name.starts_with('.')).map(str::to_owned)
        })
    }
}

pub(super) fn settings<S: Section>(config: &Config) -> Result<Vec<Setting>, Problems> {
    let reading = read::read::<S>(config, |_| Ok(()))?;
    let origin = |key: &str| reading.origins.get(key).cloned().unwrap_or(Origin::Default);
    let settings = fields(&reading.settings).into_iter();
    Ok(settings.map(|(key, value)| Setting { origin: origin(&key), key, value }).collect())
}
