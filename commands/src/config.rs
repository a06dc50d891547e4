//! The commands that begin with `config:`.

mod show;
