//! What a command may reach.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::Result;

use crate::config::Config;
use crate::input::Input;
use crate::server::DynEvents;

/// The program as its users know it.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: &'static str,
    pub version: &'static str,
}

/// What a command may reach: the configuration, the person at the terminal, and what the console was given.
///
/// Nothing is read before it is asked for: `list` opens no configuration file.
pub struct App {
    program: Program,
    root: Option<PathBuf>,
    config: OnceLock<Config>,
    input: Input,
    provided: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl App {
    pub fn new(program: Program, input: Input) -> Self {
        Self { program, root: None, config: OnceLock::new(), input, provided: HashMap::new() }
    }

    /// Takes `root` for the project's root instead of looking for it.
    #[must_use]
    pub fn at(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = Some(root.into());
        self
    }

    /// Gives commands one thing more to reach, by its type.
    pub fn provide<T: Any + Send + Sync>(&mut self, thing: T) {
        self.provided.insert(TypeId::of::<T>(), Box::new(thing));
    }

    /// What was provided under this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.provided.get(&TypeId::of::<T>())?.downcast_ref()
    }

    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The project's configuration, found at the first call.
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

    /// The program's callbacks of the server; the defaults if [`Console::events`](crate::console::Console::events)
    /// was given none.
    pub fn events(&self) -> Arc<dyn DynEvents> {
        self.get::<Arc<dyn DynEvents>>().cloned().unwrap_or_else(|| Arc::new(()))
    }

    /// Questions to the person at the terminal.
    pub fn input(&self) -> &Input {
        &self.input
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_provided_is_found_by_its_type() {
        let mut app = App::new(Program { name: "think", version: "1" }, Input::none());
        app.provide(7_u16);
        assert_eq!(app.get::<u16>(), Some(&7));
        assert_eq!(app.get::<u32>(), None);
    }
}
