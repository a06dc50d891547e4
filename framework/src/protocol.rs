//! Bytes to requests, replies to bytes; no sockets.

pub mod http;
mod lines;
mod refusal;
mod reply;
mod request;

pub use lines::{Lines, Page};
pub use refusal::{Code, Refusal};
pub use reply::{Answer, Reply, Status};
pub use request::{CommandRequest, Message, Misunderstood, ReplyMode, TaskRequest};

/// What `?` and Enter answer: the wire in a dozen lines, for a person at a terminal.
pub const HELP: &str = "\
One message a line. A line is one of:
  {\"function\":\"NAME\",\"args\":{..}}  a task; the answer has its task_id
      \"id\":1             echoed in the answer        \"reply\":\"ack\"|\"result\"|\"both\"|\"none\"
      \"queue\":\"mail\"     another queue               \"priority\":0..9, 9 first (5)
      \"delay\":\"10m\"      start later                 \"attempts\":3, \"timeout\":\"30s\"
      \"function\":null    the configured default_function
  {\"command\":\"status\"}              how the server is doing
  ?                                 this help
  anything else                     raw data for the program's on_receive
";
