//! A verb of the wire, and the table that every protocol looks verbs up in.

use std::fmt::Write as _;

use framework_protocol::{CommandRequest, ErrorCode, RequestError, ShownName, TASK_HELP};
use futures_util::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Caller, Service};
use crate::server::access::{Access, Scope};

/// One verb. Lines, frames, WebSocket, HTTP, the help, the OpenAPI document and suggestions are made of it.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    /// The right that a caller needs; `None` for a verb that anyone may call.
    pub(crate) scope: Option<Scope>,
    pub(crate) fields: &'static [Field],
    /// A phrase for people, without a full stop.
    pub(crate) about: &'static str,
    pub(crate) result: ResultSchema,
    pub(crate) run: for<'a> fn(Call<'a>) -> BoxFuture<'a, Result<Outcome, RequestError>>,
}

/// A field of a verb, with a value as an example for the help.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) example: &'static str,
}

/// The JSON Schema of what a verb's outcome holds.
#[derive(Clone, Copy)]
pub(crate) struct ResultSchema(pub(crate) fn(&mut SchemaGenerator) -> Schema);

impl ResultSchema {
    pub(crate) const fn of<T: JsonSchema>() -> Self {
        Self(|generator| generator.subschema_for::<T>())
    }

    /// A verb whose replies are streamed: the lines, as a text.
    pub(crate) const STREAM: Self = Self::of::<String>();
}

/// The call of a verb by a client that has the right to it, with no other fields than the verb's own.
pub(crate) struct Call<'a> {
    pub(crate) service: &'a Service,
    pub(crate) verb: &'static Verb,
    pub(crate) caller: Caller<'a>,
    pub(crate) request: CommandRequest<'a>,
}

/// The outcome of a call.
pub(crate) enum Outcome {
    /// The whole result, rendered once for all protocols.
    Result(Box<RawValue>),
    /// The caller's rights from now on.
    Granted(Access),
    /// Replies go to the caller's outbox, from now on and as they come.
    Streaming,
}

impl Outcome {
    pub(crate) fn result(value: &impl Serialize) -> Self {
        Self::Result(to_raw_value(value).expect("no result holds a map with odd keys"))
    }

    /// The JSON that a protocol replies with; `None` when all replies go to the outbox.
    pub(crate) fn into_result(self) -> Option<Box<RawValue>> {
        #[derive(Serialize)]
        struct GrantedScopes {
            scopes: Vec<Scope>,
        }
        let granted = match self {
            Self::Result(result) => return Some(result),
            Self::Granted(access) => Self::result(&GrantedScopes { scopes: access.scopes() }),
            Self::Streaming => return None,
        };
        granted.into_result()
    }
}

impl<'a> Call<'a> {
    /// The `id` to echo in replies that are streamed.
    pub(crate) fn id(&self) -> Option<&'a str> {
        self.request.id.map(RawValue::get)
    }

    /// Takes a field; `expected` completes `"NAME" must be ..`.
    pub(crate) fn take<T: Deserialize<'a>>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<T>, RequestError> {
        self.request.take(name, expected)
    }

    /// Takes a field that has to be there.
    pub(crate) fn need<T: Deserialize<'a>>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<T, RequestError> {
        self.request.need(name, expected)
    }
}

/// All verbs, family by family.
pub(crate) struct VerbTable {
    families: &'static [&'static [Verb]],
    help: String,
}

impl VerbTable {
    pub(crate) fn new(families: &'static [&'static [Verb]]) -> Self {
        Self { families, help: help(families.iter().copied().flatten()) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Verb> {
        self.families.iter().copied().flatten()
    }

    /// # Errors
    /// When there is none of this name; suggests the near one.
    pub(crate) fn find(&self, name: &str) -> Result<&'static Verb, RequestError> {
        self.iter().find(|verb| verb.name == name).ok_or_else(|| {
            RequestError::new(ErrorCode::UnknownCommand, format!("There is no command {}.", ShownName(name)))
                .suggesting(name, self.iter().map(|verb| verb.name))
        })
    }

    /// The answer to `?`: the wire for a person at a terminal.
    pub(crate) fn help(&self) -> &str {
        &self.help
    }
}

fn help(verbs: impl Iterator<Item = &'static Verb>) -> String {
    let mut help = TASK_HELP.to_owned();
    help.push_str("  {\"command\":\"NAME\",..}  a command, with any of its fields:\n");
    for verb in verbs {
        let fields: Vec<_> =
            verb.fields.iter().map(|field| format!("\"{}\":{}", field.name, field.example)).collect();
        let _ = write!(help, "      {:<16} {}", verb.name, verb.about);
        if !fields.is_empty() {
            let _ = write!(help, "\n{:24}{}", "", fields.join(", "));
        }
        help.push('\n');
    }
    help.push_str("  ?                                 this help\n");
    help.push_str("  anything else                     raw data for the program's on_receive");
    help
}
