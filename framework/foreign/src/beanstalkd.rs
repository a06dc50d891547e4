//! The protocol of beanstalkd: a job is a task, a tube a queue, and a buried job a failed task.
//!
//! | beanstalkd | here |
//! |---|---|
//! | job and its id | a task of the function `beanstalkd`, and the same id |
//! | tube | the queue of that name |
//! | priority, 0 is the most urgent | one of ten bands, in their order |
//! | time to run | the timeout of an attempt, after which the job is ready again |
//! | `reserve` .. `delete` | an attempt that is done |
//! | `release` | an attempt that neither failed nor is done |
//! | `bury`, `kick` | an attempt that failed, and its retry by hand |
//! | `delete` of a job that nobody has reserved | cancelled; one that is buried is forgotten |
//!
//! `INSERTED` is sent once the job is as durable as the server makes tasks.

mod decoder;
mod job;
mod numbers;
mod priority;
mod replies;
mod tubes;
mod stats;
mod state;
mod looks;
mod changes;
mod reserve;
mod session;

use std::io;

use framework_protocol::RequestError;
use framework_protocol::task::Registration;
use framework_protocol::views::Protocol;
use framework_server::server::{ForeignConnection, ForeignEntry, ForeignProtocol};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// The function whose tasks are the jobs.
pub const FUNCTION: &str = "beanstalkd";

/// The protocol of beanstalkd.
struct Beanstalkd;

inventory::submit! {
    ForeignEntry(&Beanstalkd)
}

impl ForeignProtocol for Beanstalkd {
    fn protocol(&self) -> Protocol {
        Protocol::Beanstalkd
    }

    fn function(&self) -> Registration {
        let schema = serde_json::from_str(job::SCHEMA).expect("the schema is JSON");
        Registration { name: FUNCTION.to_owned(), schema: Some(schema), ..Registration::default() }
    }

    fn rejection(&self, error: &RequestError) -> Vec<u8> {
        replies::refusal(error).to_vec()
    }

    fn serve<'a>(&'a self, connection: ForeignConnection<'a>) -> BoxFuture<'a, io::Result<()>> {
        session::serve(connection).boxed()
    }
}
