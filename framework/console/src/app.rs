//! The context of a command: configuration, input, and values that the console provides.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::Result;

use crate::config::Config;
use crate::input::Input;

/// Values provided to commands, by their types.
pub(crate) type Provided = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// The name and version of the program, as its help shows them.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: &'static str,
    pub version: &'static str,
}

/// The context of a command: the configuration, the input, and the values that the console provides.
///
/// Nothing is read before it is needed: `list` opens no configuration file.
pub struct App {
    program: Program,
    root: Option<PathBuf>,
    config: OnceLock<Config>,
    input: Input,
    provided: Provided,
}

impl App {
    pub fn new(program: Program, input: Input) -> Self {
        Self { program, root: None, config: OnceLock::new(), input, provided: HashMap::new() }
    }

    /// Sets the project's root instead of searching for it.
    #[must_use]
    pub fn at(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Adds the values of a console.
    pub(crate) fn provide_all(&mut self, provided: &Provided) {
        self.provided.extend(provided.iter().map(|(key, value)| (*key, value.clone())));
    }

    /// Provides a value to commands, by its type; a second one of the same type replaces the first.
    pub fn provide<T: Any + Send + Sync>(&mut self, value: T) {
        self.provided.insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// The value provided under this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.provided.get(&TypeId::of::<T>())?.downcast_ref()
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The project's configuration, located at the first call.
    ///
    /// # Errors
    /// When the project's root cannot be found.
    pub fn config(&self) -> Result<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = match &self.root {
            Some(root) => Config::at(root, []),
            None => Config::locate()?,
        };
        Ok(self.config.get_or_init(|| config))
    }

    /// The project's configuration, if the command has located it.
    pub(crate) fn located(&self) -> Option<&Config> {
        self.config.get()
    }

    /// Prompts to the user at the terminal.
    pub fn input(&self) -> &Input {
        &self.input
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_finds_a_provided_value_by_its_type() {
        let mut app = App::new(Program { name: "think", version: "1" }, Input::none());
        app.provide(7_u16);
        assert_eq!(app.get::<u16>(), Some(&7));
        assert_eq!(app.get::<u32>(), None);
    }
}
