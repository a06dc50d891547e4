//! One file of settings as a struct, and the registry of all such structs.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problems;
use super::provenance::Setting;
use super::validation::Invalid;
use super::{Config, provenance, schema_fields};

/// The settings of `config/NAME.toml`.
///
/// The struct derives `Serialize` and `Deserialize` with `#[serde(default)]`; its defaults live in `impl Default`
/// and nowhere else. Every field is serialized, for its name is how a key becomes known.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a section of the configuration",
    label = "this has no config/NAME.toml",
    note = "write `impl Section for {Self} {{ const NAME: &'static str = \"..\"; }}` and `framework::section!({Self});`"
)]
pub trait Section: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The file's name without `.toml`; lower case, digits and `_`.
    const NAME: &'static str;

    /// Keys that people know from elsewhere and that mean nothing here, each with the sentence that says what to
    /// do instead.
    const REPLACED: &'static [(&'static str, &'static str)] = &[];

    /// What one table of the file is, such as `schedule`, where the keys are not known beforehand because the user
    /// makes up their names and each is a table. The struct is then a transparent map.
    const TABLE: Option<&'static str> = None;

    /// Whether the values make sense. Called after reading; call it again after flags have changed a value.
    ///
    /// # Errors
    /// The keys that make no sense; [`Checks`](super::Checks) collects them.
    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// A section that `config:show` and [`Config::check_all`] know of.
pub struct SectionEntry {
    pub name: &'static str,
    pub(super) keys: fn() -> Vec<String>,
    pub(super) explain: fn(&Config) -> Result<Vec<Setting>, Problems>,
}

impl SectionEntry {
    pub const fn of<S: Section>() -> Self {
        Self { name: S::NAME, keys: schema_fields::keys::<S>, explain: provenance::settings::<S> }
    }

    /// All registered sections, by name.
    pub fn all() -> Vec<&'static Self> {
        let mut all: Vec<_> = inventory::iter::<Self>.into_iter().collect();
        all.sort_by_key(|section| section.name);
        all
    }
}

inventory::collect!(SectionEntry);

/// Makes a [`Section`] known by name: `framework::section!(MailSettings);`
#[macro_export]
macro_rules! section {
    ($section:ty) => {
        $crate::inventory::submit! { $crate::config::SectionEntry::of::<$section>() }
    };
}
