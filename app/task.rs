//! The tasks of this application; a `mod` line is the whole registration.

mod batch_ended;
mod echo;
mod send_mail;

pub(crate) use echo::Echo;
