//! Typed settings: defaults, then config/NAME.toml, then THINK_NAME_KEY.

use std::path::{Path, PathBuf};

/// Where settings come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Config {
    root: PathBuf,
}

impl Config {
    /// Looks for the project's root.
    ///
    /// # Errors
    /// When there is none.
    pub fn locate() -> anyhow::Result<Self> {
        Ok(Self::at(std::env::current_dir()?))
    }

    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
}
