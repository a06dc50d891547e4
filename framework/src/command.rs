//! A command, and the registry of all of them.
