//! Task types, the wire, and what a server reports to its clients: no sockets, no store.
//!
//! Read in this order: `detect` finds out what a connection speaks; `line_decoder` and `frame_decoder` cut
//! its bytes into messages; `request` and `command` parse a message; `reply` and `error` are what goes back.
//! Beside the wire stand [`task`], the types that handlers are written with, [`views`], the reports of a
//! server, [`worker`], the messages of a program that runs tasks for one, and [`backoff()`].

#[cfg(test)]
extern crate self as framework;

mod detect;
mod ids;
mod state;
mod error;
mod one_line;
mod line_decoder;
mod frame_decoder;
mod framing;
mod tags;
mod command;
mod request;
mod reply;
mod backoff;
pub mod task;
pub mod views;
pub mod worker;

pub use backoff::backoff;
pub use command::CommandRequest;
pub use detect::DetectedProtocol;
pub use error::{ErrorCode, RequestError, ShownName};
pub use frame_decoder::FrameDecoder;
pub use framing::Framing;
pub use line_decoder::{LineDecoder, MessageBatch};
pub use one_line::one_line;
pub use reply::{Durability, Reply, ReplyWriter, Status, TaskMessage};
pub use request::{
    AUTH, BYTE_ORDER_MARK, ExtraFields, Message, ParseError, ReplyMode, TaskRequest, TimeSpec,
};
#[doc(hidden)]
pub use {inventory, schemars, serde_json};

/// The first half of the help for a person at a terminal: the shape of a task. The commands follow it.
pub const TASK_HELP: &str = include_str!("help.txt");
