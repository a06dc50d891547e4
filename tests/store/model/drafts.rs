//! The tasks of the schedules, and their handlers.

use std::fmt;

use bytes::Bytes;
use framework::inventory;
use framework::prelude::*;
use framework::task::{BatchId, Due, Handler, Handlers, NewTask, Task, TaskOptions};
use serde::{Deserialize, Serialize};

pub(super) const QUEUES: [&str; 3] = ["model_a", "model_b", "model_c"];
pub(super) const PLAIN: &str = "model_plain";
pub(super) const BLOCKING: &str = "model_blocking";
pub(super) const KEYED: &str = "model_keyed";
pub(super) const LAST: &str = "model_last";
/// The number of tasks of one concurrency key that run at once.
pub(super) const TOGETHER: usize = 2;

macro_rules! handler {
    ($name:ident, $($option:tt)*) => {
        #[derive(Serialize, Deserialize, Task)]
        #[task($($option)*)]
        struct $name(serde_json::Value);
    };
}

handler!(Plain, name = "model_plain", queue = "model_a", attempts = 3);
handler!(Blocking, name = "model_blocking", queue = "model_b", blocking);
handler!(Last, name = "model_last", queue = "model_b", priority = 7);

/// Of these, two of one concurrency key run at once.
#[derive(Serialize, Deserialize)]
struct Keyed(serde_json::Value);

impl Task for Keyed {
    const NAME: &'static str = KEYED;
    const OPTIONS: TaskOptions =
        TaskOptions { queue: "model_c", concurrency: TOGETHER as u32, ..TaskOptions::DEFAULT };
}

inventory::submit!(Handler::of::<Keyed>(env!("CARGO_PKG_NAME"), file!(), line!()));

impl Handle for Plain {
    type Output = ();
    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

impl HandleBlocking for Blocking {
    type Output = ();
    fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

impl Handle for Keyed {
    type Output = ();
    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

impl Handle for Last {
    type Output = ();
    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Ok(())
    }
}

/// A task to push.
#[derive(Clone, PartialEq)]
pub(super) struct Draft {
    pub(super) function: &'static str,
    pub(super) args: String,
    pub(super) queue: &'static str,
    pub(super) priority: u8,
    pub(super) due: Due,
    pub(super) expires: Option<Due>,
    pub(super) key: Option<&'static str>,
    pub(super) concurrency_key: Option<&'static str>,
    pub(super) batch: Option<BatchId>,
    pub(super) then: Vec<&'static str>,
    /// The batch whose completion it is; only the store makes those.
    pub(super) completes: Option<BatchId>,
}

impl Draft {
    /// A task with its handler's own options.
    pub(super) fn of(handlers: &Handlers, function: &str, args: String) -> Self {
        let handler = handlers.find(function).unwrap();
        Self {
            function: handler.name,
            args,
            queue: handler.options.queue,
            priority: handler.options.priority,
            due: Due::Now,
            expires: None,
            key: None,
            concurrency_key: None,
            batch: None,
            then: Vec::new(),
            completes: None,
        }
    }

    pub(super) fn task(&self, handlers: &Handlers) -> NewTask {
        let handler = handlers.find(self.function).unwrap();
        let mut new = NewTask::with_defaults(handler, Bytes::from(self.args.clone()));
        new.queue = self.queue.into();
        new.priority = self.priority;
        new.due = self.due;
        let is_rare = self.expires.is_some()
            || self.key.is_some()
            || self.concurrency_key.is_some()
            || self.batch.is_some()
            || !self.then.is_empty();
        if is_rare {
            let rare = new.extra_mut();
            rare.expires = self.expires;
            rare.key = self.key.map(Into::into);
            rare.concurrency_key = self.concurrency_key.map(Into::into);
            rare.batch = self.batch;
            rare.then = self.then.iter().map(|name| (*name).into()).collect();
        }
        new
    }

    pub(super) fn is_blocking(&self) -> bool {
        self.function == BLOCKING
    }
}

/// Omits everything that has its default.
impl fmt::Debug for Draft {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Self { function, args, queue, priority, .. } = self;
        write!(formatter, "{function}({args}) in {queue}:{priority}")?;
        if self.due != Due::Now {
            write!(formatter, " due {:?}", self.due)?;
        }
        let expires = self.expires.map(|due| format!("{due:?}"));
        let batch = self.batch.map(|batch| batch.to_string());
        let completes = self.completes.map(|batch| batch.to_string());
        let key = self.key.map(str::to_owned);
        let together = self.concurrency_key.map(str::to_owned);
        let rare = [
            ("expires", expires),
            ("key", key),
            ("together", together),
            ("batch", batch),
            ("completes", completes),
        ];
        for (name, value) in rare {
            if let Some(value) = value {
                write!(formatter, " {name} {value}")?;
            }
        }
        if !self.then.is_empty() {
            write!(formatter, " then {:?}", self.then)?;
        }
        Ok(())
    }
}
