//! The protocols of other systems, so that their workers and clients change an address and nothing else.
//!
//! | feature | module | protocol |
//! |---|---|---|
//! | `beanstalkd` | [`beanstalkd`] | that of beanstalkd 1.12 |
//! | `faktory` | [`faktory`] | that of Faktory, version 2 |
//!
//! A protocol is a decoder without a socket, a session for each connection, and commands that call the one
//! service of the server. A listener speaks it whose `protocols` name it alone.

mod flow;

#[cfg(feature = "beanstalkd")]
pub mod beanstalkd;
#[cfg(feature = "faktory")]
pub mod faktory;
