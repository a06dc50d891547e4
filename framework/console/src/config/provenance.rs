//! The effective settings and the origin of each, for `config:show`.

use std::fs;

use super::Config;
use super::did_you_mean::did_you_mean;
use super::environment::Known;
use super::problem::{Origin, Problems};
use super::read::Setting;
use super::registry::SectionEntry;

/// The settings of one section, or its problems.
#[derive(Debug)]
pub struct Provenance {
    pub section: &'static str,
    pub settings: Result<Vec<Setting>, Problems>,
}

impl Config {
    /// The settings of every registered section, by name.
    pub fn explain(&self) -> Vec<Provenance> {
        let read =
            |section: &SectionEntry| Provenance { section: section.name, settings: (section.read)(self) };
        SectionEntry::all().into_iter().map(read).collect()
    }

    /// The files and variables that belong to no registered section.
    pub fn strays(&self) -> Problems {
        self.strays_beside(None)
    }

    /// The same, if `known` is a section as well.
    pub(super) fn strays_beside(&self, known: Option<&'static str>) -> Problems {
        let registered = SectionEntry::all();
        let sections: Vec<_> = registered.iter().map(|section| section.name).chain(known).collect();
        let keys: Vec<_> =
            registered.iter().map(|section| Known { name: section.name, keys: section.keys }).collect();
        let mut problems = self.sources.environment.strays(&sections, &keys);
        for name in self.file_names().filter(|name| !sections.contains(&name.as_str())) {
            let message = match did_you_mean(&name, sections.iter().copied()) {
                Some(near) => format!("unknown section `{name}`; did you mean config/{near}.toml?"),
                None => format!("unknown section `{name}`; the sections are: {}", sections.join(", ")),
            };
            problems.add(Origin::File(format!("config/{name}.toml")), message);
        }
        problems
    }

    /// The names of the files in `config/`, without `.toml`. A directory that is missing or cannot be read
    /// has none: reading the sections' own files reports the reason.
    fn file_names(&self) -> impl Iterator<Item = String> {
        let files = fs::read_dir(self.root().join("config")).into_iter().flatten().flatten();
        files.filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            name.strip_suffix(".toml").filter(|name| !name.starts_with('.')).map(str::to_owned)
        })
    }
}
