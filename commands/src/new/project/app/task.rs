//! The tasks of this program; a `mod` line registers one.

mod echo;
