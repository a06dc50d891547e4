//! Typed settings: defaults, then config/NAME.toml, then THINK_NAME_KEY.
