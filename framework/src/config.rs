//! Typed settings: defaults, then config/NAME.toml, then THINK_NAME_KEY.

/// Where settings come from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Config;
