//! The protocol of Faktory: a job is a task of the function `faktory`, whose arguments are the job.
//!
//! | Faktory | here |
//! |---|---|
//! | job | a task of the function `faktory`, whose arguments are the job as its client has sent it |
//! | queue, priority, at | the queue, priority and due time of the task |
//! | retry | the number of attempts beside the first; 0 forgets a job that fails, -1 lets it fail for good |
//! | reserve_for | the timeout of an attempt, after which the job can be fetched again |
//! | FETCH, ACK, FAIL | an attempt, which is done or has failed |
//! | a worker's last connection ends | its jobs can be fetched again at once |
//!
//! `+OK` to a push is sent once the job is as durable as the server makes tasks.

mod command;
mod job;
mod lines;
mod replies;
mod workers;
mod state;
mod fetch;
mod pushes;
mod queues;
mod session;

use std::io;

use framework_protocol::RequestError;
use framework_protocol::task::Registration;
use framework_protocol::views::Protocol;
use framework_server::server::{ForeignConnection, ForeignEntry, ForeignProtocol};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// The function whose tasks are the jobs.
pub const FUNCTION: &str = "faktory";

/// The protocol of Faktory.
struct Faktory;

inventory::submit! {
    ForeignEntry(&Faktory)
}

impl ForeignProtocol for Faktory {
    fn protocol(&self) -> Protocol {
        Protocol::Faktory
    }

    fn function(&self) -> Registration {
        let schema = serde_json::from_str(job::SCHEMA).expect("the schema is JSON");
        Registration { name: FUNCTION.to_owned(), schema: Some(schema), ..Registration::default() }
    }

    fn rejection(&self, error: &RequestError) -> Vec<u8> {
        replies::refusal(error)
    }

    fn serve<'a>(&'a self, connection: ForeignConnection<'a>) -> BoxFuture<'a, io::Result<()>> {
        session::serve(connection).boxed()
    }
}
