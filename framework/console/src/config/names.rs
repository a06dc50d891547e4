//! The names that a section knows, and what to say of any other.

use super::Section;
use super::did_you_mean::did_you_mean;
use super::environment::variable;
use super::schema_fields::keys;

/// The keys of one section, and those that it knows to refuse.
pub(super) struct Names {
    section: &'static str,
    known: Vec<String>,
    /// What a table of a made-up name is.
    table: Option<&'static str>,
    replaced: &'static [(&'static str, &'static str)],
}

impl Names {
    pub(super) fn of<S: Section>() -> Self {
        Self { section: S::NAME, known: keys::<S>(), table: S::TABLE, replaced: S::REPLACED }
    }

    /// Whether the file may have this key; else what is wrong with it.
    pub(super) fn check_key(&self, key: &str, is_table: bool) -> Result<(), String> {
        if let Some(table) = self.table {
            return made_up(key, is_table, table);
        }
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
        if let Some(table) = self.table {
            return Err(format!(
                "a {table} is not set by a variable: write it into config/{}.toml",
                self.section
            ));
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
        did_you_mean(name, self.known.iter().map(String::as_str))
    }

    fn list(&self) -> String {
        format!("the settings are: {}", self.known.join(", "))
    }
}

/// Whether a table may be called so.
fn made_up(key: &str, is_table: bool, table: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    if !is_table {
        return Err(format!(
            "`{key}` belongs to no {table}: write it below a line such as `[name_of_the_{table}]`"
        ));
    }
    if key.is_empty() || !key.chars().all(good) {
        return Err(format!(
            "{key:?} is no name for a {table}: write lower case letters, digits, `_`, `-` and `.`"
        ));
    }
    Ok(())
}
