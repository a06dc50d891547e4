//! What one row of the table of routes says, and how a path finds its rows.

use framework_protocol::task::Handlers;
use hyper::Method;

use super::percent;
use crate::server::access::Scope;

/// One method of one path: what the router does, and what the document says of it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// Parts in braces stand for a value.
    pub(super) path: &'static str,
    /// Its name in the document.
    pub(super) operation: &'static str,
    pub(super) summary: &'static str,
    /// What the client has to have the right to; nobody is asked for a token where there is none.
    pub(super) scope: Option<Scope>,
    pub(super) parameters: &'static [Parameter],
    pub(super) action: Action,
    /// What it answers when all is well.
    pub(super) answers: &'static [ResponseSpec],
    /// The statuses of problems beside those that every route may have.
    pub(super) problems: &'static [u16],
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Hands over one task.
    Push,
    /// Hands over a task a line.
    PushMany,
    /// Asks this command of the wire; the parameters are its fields, and its result is the answer.
    Ask(&'static str),
    /// Follows one task, or one batch.
    Follow,
    /// Follows all tasks.
    FollowAll,
    /// Says that the process answers.
    Health,
    /// Says whether tasks are taken.
    Readiness,
    /// Lists the routes.
    Index,
    /// Describes the routes.
    Document,
}

/// What an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResponseSpec {
    pub(super) status: u16,
    pub(super) holds: BodySchema,
}

/// The type of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodySchema {
    /// The acknowledgement of a task.
    Queued,
    /// The result of a task.
    Done,
    /// The acknowledgements and results of many tasks, one a line.
    Lines,
    Events,
    Story,
    Tasks,
    Changed,
    Status,
    Connections,
    Functions,
    Queues,
    Batches,
    Batch,
    Schedules,
    /// A small object that describes itself.
    Object,
}

/// A value that a request may have beside its body.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) about: &'static str,
}

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The id of a task or a batch.
    Id,
    Number(u32, u32),
    Text,
    /// 1 to 256 bytes.
    Key,
    /// The same, of those that a header may hold; perhaps in quotes.
    HeaderKey,
    State,
    /// `30s`, or a number of seconds.
    Span,
    /// A span that the client is ready to wait.
    Wait,
    /// A date and time with its offset.
    Moment,
    /// A span or a moment.
    When,
    /// Several names with commas between them.
    Names,
    /// The name of a handler.
    Function,
    /// The name of a queue.
    Queue,
}

impl Route {
    /// The values of the path's braces, if this is a path of this route.
    pub(super) fn matches(
        &self,
        method: &Method,
        path: &str,
        handlers: &Handlers,
    ) -> Option<Vec<(&'static str, String)>> {
        let (mut parts, mut wanted) = (path.split('/'), self.path.split('/'));
        let mut values = Vec::new();
        loop {
            match (wanted.next(), parts.next()) {
                (None, None) => return Some(values),
                (Some(wanted), Some(part)) => match wanted.strip_prefix('{') {
                    Some(name) => values.push(self.value(name.strip_suffix('}')?, part, method, handlers)?),
                    None if wanted == part => {}
                    None => return None,
                },
                _ => return None,
            }
        }
    }

    fn value(
        &self,
        name: &str,
        part: &str,
        method: &Method,
        handlers: &Handlers,
    ) -> Option<(&'static str, String)> {
        let parameter = self.parameters.iter().find(|parameter| parameter.name == name)?;
        let value = percent::decode(part)?;
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let fits = match parameter.kind {
            Kind::Id => is_number && value.parse::<u64>().is_ok(),
            // Who hands over a task is told of a near name; to others there is nothing. A number is the id of a task.
            Kind::Function => {
                handlers.find(&value).is_ok() || method == self.method && !is_number && !value.is_empty()
            }
            _ => !value.is_empty(),
        };
        fits.then_some((parameter.name, value))
    }

    /// Whether somebody who only reads may ask it.
    pub(super) fn reads(&self) -> bool {
        self.method == "GET"
    }
}
