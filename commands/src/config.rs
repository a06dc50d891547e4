//! The commands of the configuration.

mod show;
