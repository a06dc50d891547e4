//! The registry of all sections.

use super::read::{self, Setting};
use super::schema_fields::keys;
use super::{Config, Problems, Section};

/// A section in the registry, for `config:show` and [`Config::check_all`].
pub struct SectionEntry {
    pub name: &'static str,
    pub(super) keys: fn() -> Vec<String>,
    pub(super) read: fn(&Config) -> Result<Vec<Setting>, Problems>,
}

impl SectionEntry {
    pub const fn of<S: Section>() -> Self {
        Self { name: S::NAME, keys: keys::<S>, read: read::settings::<S> }
    }

    /// All registered sections, by name.
    pub fn all() -> Vec<&'static Self> {
        let mut all: Vec<_> = inventory::iter::<Self>.into_iter().collect();
        all.sort_by_key(|section| section.name);
        all
    }
}

inventory::collect!(SectionEntry);

/// Registers a [`Section`]: `framework::section!(MailSettings);`
#[macro_export]
macro_rules! section {
    ($section:ty) => {
        $crate::inventory::submit! { $crate::config::SectionEntry::of::<$section>() }
    };
}
