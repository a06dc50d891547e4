//! The tasks of this application; a `mod` line is the whole registration.

mod echo;

pub(crate) use echo::Echo;
