//! Bytes to requests, replies to bytes; no sockets.

mod command;
mod frame_decoder;
mod line_decoder;
mod detect;
mod error;
mod reply;
mod request;

pub use command::CommandRequest;
pub use detect::DetectedProtocol;
pub use error::{ErrorCode, RequestError};
pub use frame_decoder::FrameDecoder;
pub use line_decoder::{LineDecoder, MessageBatch};
pub use reply::{Durability, Reply, ReplyWriter, Status};
pub use request::{ExtraFields, Message, ParseError, ReplyMode, TaskRequest, TimeSpec};

/// What `?` and Enter answer: the wire in a dozen lines, for a person at a terminal.
pub const HELP: &str = "\
One message a line. A line is one of:
  {\"function\":\"NAME\",\"args\":{..}}  a task; the answer has its task_id
      \"id\":1             echoed in the answer        \"reply\":\"ack\"|\"result\"|\"both\"|\"none\"
      \"queue\":\"mail\"     another queue               \"priority\":0..9, 9 first (5)
      \"delay\":\"10m\"      start later                 \"at\":\"2026-12-01T09:00:00+08:00\"
      \"attempts\":3       may fail so often           \"timeout\":\"30s\", \"backoff\":\"5s\" of an attempt
      \"expires\":\"1h\"     too late after that         \"key\":\"..\"  a second one is the first again
      \"concurrency_key\":\"..\"  those with it take turns  \"batch\":3  one of an open batch
      \"then\":\"NAME\"      a function, or a list of them, to run with the result
      \"function\":null    the configured default_function
  {\"command\":\"status\"}              how the server is doing; other commands and their fields:
      watch                            \"task\":12 or \"batch\":3, what becomes of it, line by line
      show, cancel, retry, forget      \"task\":12; cancel and forget also \"batch\":3, retry and forget
                                       \"failed\":true, \"queue\":\"mail\"
      list                             \"state\", \"queue\", \"function\", \"batch\", \"before\":12, \"limit\":20
      queues; pause, resume, flush     \"queue\":\"mail\"
      open_batch, seal_batch           \"name\", \"function\", \"then\"; \"batch\":3
      batches, batch; schedules        \"limit\":20; \"batch\":3
      connections                      \"after\":12, \"limit\":20
      run_schedule, pause_schedule, resume_schedule  \"schedule\":\"morning_mail\"
      functions                        \"function\":\"echo\", what it takes, as a JSON Schema
      auth; stop, reload               \"token\":\"..\", before all else; \"now\":true or \"timeout\":\"30s\"
  ?                                 this help
  anything else                     raw data for the program's on_receive
";
