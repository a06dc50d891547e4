//! A task, its attempts and outcomes, and the handlers that run them.

mod attempt;
mod cron_spec;
mod due;
mod follow_ups;
mod handler;
mod handlers;
mod new_task;
mod outcome;
mod panic;
mod progress;
mod record;
mod registered;
mod schema;
mod task_type;

pub use attempt::{Attempt, AttemptContext, ProgressSink};
pub use cron_spec::{CronSpec, MissedRunPolicy, OverlapPolicy};
pub use due::{Due, moment_text, now_ms, parse_moment};
pub use follow_ups::PUSHES_MAX;
pub use handler::{DeclaredCode, Handler};
pub use handlers::{CompiledFunction, Function, Handlers};
pub use new_task::{ExtraOptions, NewTask};
pub use outcome::{Failure, Outcome, Retry, no_retry, retry_after};
pub use progress::{LINES_MAX, LogLine, Progress, ProgressLog, TEXT_MAX};
pub use record::TaskRecord;
pub use registered::{ArgumentCheck, RegisteredFunction, Registration, TimeSpan};
pub use schema::{AnyValue, CronInfo, FunctionWorkers, HandlerInfo, SchemaOf, schema_of};
pub use task_type::{COMMAND_FUNCTION, Handle, HandleBlocking, Task, TaskOptions};

pub use crate::ids::{BatchId, TaskId};
pub use crate::request::ATTEMPTS_MAX;
pub use crate::tags::{TAGS_MAX, Tag, TagError, Tags};
