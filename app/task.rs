//! The tasks of this application; a `mod` line registers one.

mod batch_ended;
mod crash;
mod echo;
mod send_mail;

pub(crate) use echo::Echo;
