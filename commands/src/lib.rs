//! The built-in commands.
