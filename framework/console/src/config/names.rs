//! The keys of a section, and the messages for any other key.

use super::Section;
use super::did_you_mean::did_you_mean;
use super::environment::variable;
use super::schema_fields::keys;

/// The keys of one section, and the foreign ones that it refuses with advice.
pub(super) struct Names {
    section: &'static str,
    known: Vec<String>,
    /// The noun for a table, if the user chooses its name.
    table: Option<&'static str>,
    replaced: &'static [(&'static str, &'static str)],
}

impl Names {
    pub(super) fn of<S: Section>() -> Self {
        Self { section: S::NAME, known: keys::<S>(), table: S::TABLE, replaced: S::REPLACED }
    }

    /// Checks a key of the file; the error says what is wrong with it.
    pub(super) fn check_key(&self, key: &str, is_table: bool) -> Result<(), String> {
        if let Some(table) = self.table {
            return check_table(key, is_table, table);
        }
        let name = key.trim();
        let is_known = self.known.iter().any(|known| known == name);
        if is_known && name == key {
            return Ok(());
        }
        if is_known {
            return Err(format!("{key:?} is `{name}` with spaces: remove them"));
        }
        let spaces = if name == key { "" } else { " (mind the spaces in its quotes)" };
        if let Some((_, sentence)) = self.replaced.iter().find(|(replaced, _)| *replaced == name) {
            return Err(format!("`{name}`{spaces} is not supported: {sentence}"));
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

    /// Checks the key of a variable, which is in lower case; the error says what is wrong with it.
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
            return Err(format!("`{replaced}` is not supported: {sentence}"));
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

/// Checks the name of a table that the user chose.
fn check_table(key: &str, is_table: bool, table: &str) -> Result<(), String> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    if !is_table {
        return Err(format!(
            "`{key}` belongs to no {table}: write it below a line such as `[name_of_the_{table}]`"
        ));
    }
    if key.is_empty() || !key.chars().all(is_valid) {
        return Err(format!(
            "{key:?} is not a valid name for a {table}: use lower case letters, digits, `_`, `-` and `.`"
        ));
    }
    Ok(())
}
