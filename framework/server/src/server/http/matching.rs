//! The rows of the table of routes, and how a path finds them.

use hyper::Method;

use super::percent;
use crate::server::access::Scope;
use crate::server::service::{Verb, VerbTable};

/// One method of one path: what the router does, and what the document says of it.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// Parts in braces stand for a value.
    pub(super) path: &'static str,
    /// Its name in the document.
    pub(super) operation: &'static str,
    /// A phrase for people; `None` is that of the verb.
    pub(super) summary: Option<&'static str>,
    pub(super) parameters: &'static [Parameter],
    pub(super) action: Action,
    pub(super) responses: &'static [ResponseSpec],
    /// The statuses of problems beside those that every route may have.
    pub(super) problems: &'static [u16],
}

/// The action of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Pushes one task.
    Push,
    /// Pushes a task a line.
    PushMany,
    /// Calls this verb; the parameters are its fields, and its result is the body.
    Call(&'static str),
    /// Calls this verb; the body is a JSON object with its fields.
    CallWithBody(&'static str),
    /// Hands out tasks to a worker.
    Work,
    /// Calls this verb, whose replies are streamed.
    Follow(&'static str),
    /// Follows all tasks.
    FollowAll,
    /// Reports that the process answers.
    Health,
    /// Reports whether tasks are accepted.
    Readiness,
    /// Writes the figures for Prometheus.
    Metrics,
    /// Lists the routes.
    Index,
    /// Describes the routes.
    Document,
}

/// A response that is no problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResponseSpec {
    pub(super) status: u16,
    pub(super) body: BodySchema,
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
    /// The result of the route's verb.
    Result,
    /// The figures of the server, in a format of Prometheus.
    Metrics,
    /// A small object that describes itself.
    Object,
}

/// A value that a request may have beside its body.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: ParameterPlace,
    pub(super) kind: ParameterKind,
    pub(super) about: &'static str,
}

/// The part of a request that holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParameterPlace {
    Path,
    Query,
    Header,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParameterKind {
    /// The id of a task or a batch.
    Id,
    Number(u32, u32),
    Text,
    /// The cause of a failure.
    Cause,
    /// Tags with commas between them.
    Tags,
    /// 1 to 256 bytes.
    Key,
    /// 1 to 256 visible ASCII characters, perhaps in quotes.
    HeaderKey,
    State,
    /// `30s`, or a number of seconds.
    Span,
    /// A time span of at most 49 days.
    Backoff,
    /// A span for which the client waits.
    Wait,
    /// A date and time with its offset.
    Moment,
    /// A span or a moment.
    When,
    /// The names of several functions with commas between them.
    Names,
    /// Several texts with commas between them.
    Texts,
    /// The name of a handler.
    Function,
    /// The name of a queue.
    Queue,
}

impl Route {
    /// The verb that it calls, if it calls one.
    pub(super) fn verb(&self, verbs: &VerbTable) -> Option<&'static Verb> {
        match self.action {
            Action::Call(verb) | Action::CallWithBody(verb) | Action::Follow(verb) => verbs.find(verb).ok(),
            _ => None,
        }
    }

    /// The right that a client needs; `None`: no token is required.
    pub(super) fn scope(&self, verbs: &VerbTable) -> Option<Scope> {
        match self.action {
            Action::Push | Action::PushMany => Some(Scope::Send),
            Action::Work => Some(Scope::Work),
            Action::Call(_) | Action::CallWithBody(_) | Action::Follow(_) => {
                self.verb(verbs).and_then(|verb| verb.scope)
            }
            Action::FollowAll | Action::Document | Action::Metrics => Some(Scope::Inspect),
            Action::Health | Action::Readiness | Action::Index => None,
        }
    }

    /// A phrase for people.
    pub(super) fn summary(&self, verbs: &VerbTable) -> &'static str {
        self.summary.or_else(|| Some(self.verb(verbs)?.about)).unwrap_or_default()
    }

    /// The values of the path's braces, if this is a path of this route. Which functions there are does not
    /// show: the answer may go to a client without a token.
    pub(super) fn matches(&self, method: &Method, path: &str) -> Option<Vec<(&'static str, String)>> {
        let (mut parts, mut wanted) = (path.split('/'), self.path.split('/'));
        let mut values = Vec::new();
        loop {
            match (wanted.next(), parts.next()) {
                (None, None) => return Some(values),
                (Some(wanted), Some(part)) => match wanted.strip_prefix('{') {
                    Some(name) => values.push(self.value(name.strip_suffix('}')?, part, method)?),
                    None if wanted == part => {}
                    None => return None,
                },
                _ => return None,
            }
        }
    }

    fn value(&self, name: &str, part: &str, method: &Method) -> Option<(&'static str, String)> {
        let parameter = self.parameters.iter().find(|parameter| parameter.name == name)?;
        let value = percent::decode(part)?;
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let fits = match parameter.kind {
            ParameterKind::Id => is_number && value.parse::<u64>().is_ok(),
            // A number is the id of a task, and only tasks are read and deleted.
            ParameterKind::Function => {
                !is_number
                    && !value.is_empty()
                    && ![Method::GET, Method::HEAD, Method::DELETE].contains(method)
            }
            _ => !value.is_empty(),
        };
        fits.then_some((parameter.name, value))
    }

    /// True when it only reads, so that `HEAD` is possible as well.
    pub(super) fn is_read_only(&self) -> bool {
        self.method == "GET"
    }
}
