//! The names that a section knows, and what to say of any other.

use super::Section;
use super::environment::variable;
use super::fields::keys;
use super::nearest::nearest;

/// The keys of one section, and those that it knows to refuse.
pub(super) struct Names {
    section: &'static str,
    known: Vec<String>,
    replaced: &'static [(&'static str, &'static str)],
}

impl Names {
    pub(super) fn of<S: Section>() -> Self {
        Self { section: S::NAME, known: keys::<S>(), replaced: S::REPLACED }
    }

    /// Whether the file may have this key; else what is wrong with it.
    pub(super) fn check_key(&self, key: &str, is_table: bool) -> Result<(), String> {
        let name = key.trim();
        let is_known = self.known.iter().any(|known| known == name);
        if is_known && name == key {
            return Ok(());
        }
        if is_known {
            return Err(format!("{key:?} is `{name}` with spaces: remove them"));
        }
        let spaces = if name == key { "" } else { " (mind the spaces within its quotes)" };
        if let Some((_, sentence)) = self.replaced.iter().find(|(replaced, _)| *replaced == name) {
            return Err(format!("`{name}`{spaces} is not used here: {sentence}"));
        }
        if is_table && name == self.section {
            return Err(format!(
                "all of config/{name}.toml is the section `{name}`: remove the line `[{name}]`"
            ));
        }
        Err(match self.nearest(name) {
            Some(near) => format!("`{name}`{spaces} is not a setting; did you mean `{near}`?"),
            None => format!("`{name}`{spaces} is not a setting; {}", self.list()),
        })
    }

    /// Whether there may be a variable of this key, which has lost its case; else what is wrong with it.
    pub(super) fn check_variable(&self, key: &str) -> Result<(), String> {
        if self.known.iter().any(|known| known == key) {
            return Ok(());
        }
        let replaced = self.replaced.iter().find(|(replaced, _)| replaced.eq_ignore_ascii_case(key));
        if let Some((replaced, sentence)) = replaced {
            return Err(format!("`{replaced}` is not used here: {sentence}"));
        }
        Err(match self.nearest(key) {
            Some(near) => format!("`{key}` is not a setting; did you mean {}?", variable(self.section, near)),
            None => format!("`{key}` is not a setting; {}", self.list()),
        })
    }

    fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.known.iter().map(String::as_str))
    }

    fn list(&self) -> String {
        format!("the settings are: {}", self.known.join(", "))
    }
}
