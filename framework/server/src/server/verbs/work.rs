//! Verbs of workers outside of the server, and about them.
//!
//! `work` makes a connection that of a worker. Messages of a worker are answered when they are wrong, and
//! otherwise only where the worker may want to know more: `work`, `settle` and `leave`.

mod ends;

use framework_protocol::task::Registration;
use framework_protocol::views::WorkerInfo;
use framework_protocol::worker::{JoinReply, RenewReply};
use framework_protocol::{CommandRequest, ReplyWriter, RequestError};
use serde_json::value::RawValue;

use self::ends::read_end;
use super::fields::field;
use crate::server::access::Scope;
use crate::server::service::{Call, Caller, Field, Outcome, ResultSchema, Verb};
use crate::server::worker::remote::{JoinRequest, SessionKey};

/// The version of the messages of workers.
const VERSION: u32 = 1;
/// The longest name of a worker or a language, in bytes.
const NAME_MAX: usize = 256;
/// The most ends in one message.
const ENDS_MAX: usize = 10_000;
/// The most queues that a worker may choose.
const QUEUES_MAX: usize = 256;
/// The most leases that a worker may come back for.
const RESUMES_MAX: usize = 10_000;

const FUNCTIONS: &str = "a list such as [{\"name\":\"resize\"}]";
const LEASE: Field = field("lease", "\"91.7\"");
const TEXT: Field = field("text", "\"42 of 100\"");
const CREDIT: Field = field("credit", "8");

pub(super) static VERBS: &[Verb] = &[
    Verb {
        name: "work",
        scope: Some(Scope::Work),
        fields: &[
            field("version", "1"),
            field("worker", "\"host:4242\""),
            field("language", "\"php/8.2\""),
            CREDIT,
            field("credit_bytes", "1048576"),
            field("heartbeats", "true"),
            field("session", "\"6f1ed002ab5595859014ebf0951522d9\""),
            field("resumes", "[\"91.7\"]"),
            field("functions", "[{\"name\":\"resize\"}]"),
            field("queues", "[\"images\"]"),
        ],
        about: "Run tasks of these functions, as far as there is credit",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(work(call)),
    },
    Verb {
        name: "settle",
        scope: Some(Scope::Work),
        fields: &[field("ends", "[{\"lease\":\"91.7\",\"result\":42}]"), CREDIT],
        about: "The ends of attempts, and credit for further tasks",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(settle(call)),
    },
    Verb {
        name: "credit",
        scope: Some(Scope::Work),
        fields: &[CREDIT],
        about: "Credit for so many further tasks",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(credit(call)),
    },
    Verb {
        name: "begin",
        scope: Some(Scope::Work),
        fields: &[LEASE],
        about: "An attempt begins now, and not when its task was handed out",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(begin(call)),
    },
    Verb {
        name: "heartbeat",
        scope: Some(Scope::Work),
        fields: &[field("leases", "[\"91.7\"]")],
        about: "The worker is alive; with `leases`, which of their attempts are to stop",
        result: ResultSchema::of::<RenewReply>(),
        run: |call| Box::pin(heartbeat(call)),
    },
    Verb {
        name: "progress",
        scope: Some(Scope::Work),
        fields: &[LEASE, field("percent", "42.0"), TEXT],
        about: "The progress of an attempt",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(progress(call)),
    },
    Verb {
        name: "log",
        scope: Some(Scope::Work),
        fields: &[LEASE, TEXT],
        about: "A line for the log of an attempt's task",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(log(call)),
    },
    Verb {
        name: "leave",
        scope: Some(Scope::Work),
        fields: &[],
        about: "Get no further tasks",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(sign_off(call)),
    },
    Verb {
        name: "workers",
        scope: Some(Scope::Inspect),
        fields: &[],
        about: "The workers that are connected",
        result: ResultSchema::of::<Vec<WorkerInfo>>(),
        run: |call| Box::pin(workers(call)),
    },
    Verb {
        name: "drain",
        scope: Some(Scope::Admin),
        fields: &[field("worker", "\"host:4242\"")],
        about: "Give a worker no further tasks",
        result: ResultSchema::STREAM,
        run: |call| Box::pin(drain(call)),
    },
];

async fn work(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let version = call.take("version", "the number 1")?.unwrap_or(VERSION);
    if version != VERSION {
        let message = format!("\"version\" must be {VERSION}: this server knows no other one.");
        return Err(RequestError::bad_request(message));
    }
    let name: String = call.need("worker", "a name such as \"host:4242\"")?;
    let language: String = call.take("language", "a text such as \"php/8.2\"")?.unwrap_or_default();
    check_names(&name, &language)?;
    let functions = take_functions(call.need("functions", FUNCTIONS)?)?;
    let heartbeats = call.take("heartbeats", "true or false")?.unwrap_or(true);
    let (session, resumes) = take_session(&mut call, heartbeats)?;
    let request = JoinRequest {
        name,
        language,
        peer: call.caller.peer.to_string(),
        child: call.caller.peer.child(),
        credit: take_credit(&mut call)?,
        credit_bytes: call.take("credit_bytes", "a number of bytes")?,
        heartbeats,
        functions,
        queues: check_queues(call.take("queues", "a list such as [\"images\"]")?)?,
        session,
        poll: None,
        resumes,
        bounds: call.caller.policy.work_bounds(call.caller.access)?,
    };
    if request.functions.is_empty() {
        return Err(RequestError::bad_request("\"functions\" must name at least one."));
    }
    let remote = &call.service.remote;
    let limits = remote.limits();
    let joined = JoinReply {
        version: VERSION,
        lease_ms: limits.lease.as_millis() as u64,
        heartbeat_ms: (limits.lease / 3).as_millis() as u64,
        credit_max: limits.credit,
        message_max: limits.message_bytes,
        resume_ms: limits.resume.as_millis() as u64,
        resumed: Vec::new(),
        unknown: Vec::new(),
    };
    remote.join(call.caller.outbox, request, call.id(), joined).await?;
    Ok(Outcome::Streaming)
}

/// The request of a worker that keeps no connection, from the parameters of a URL, and of a body with the
/// `functions` where more than their names is to be said.
pub(crate) fn poll_request(
    caller: &Caller<'_>,
    mut fields: CommandRequest<'_>,
    body: Option<CommandRequest<'_>>,
) -> Result<JoinRequest, RequestError> {
    let text = "a text";
    let name = fields.take("worker", text)?.unwrap_or_else(|| caller.peer.to_string());
    let language: String = fields.take("language", text)?.unwrap_or_default();
    check_names(&name, &language)?;
    let functions = match body {
        Some(mut body) => {
            let functions = take_functions(body.need("functions", FUNCTIONS)?)?;
            body.only(&["functions"])?;
            functions
        }
        None => {
            let expected = "names with commas between them, as in ?functions=resize,thumbnail";
            let names: Vec<String> = fields.need("functions", expected)?;
            names.into_iter().map(Registration::named).collect()
        }
    };
    let request = JoinRequest {
        name,
        language,
        peer: caller.peer.to_string(),
        child: None,
        credit: fields.take("credit", "a number of tasks from 1 to 10000")?.unwrap_or(1),
        credit_bytes: fields.take("credit_bytes", "a number of bytes")?,
        heartbeats: false,
        functions,
        queues: check_queues(fields.take("queues", "names with commas between them")?)?,
        session: None,
        poll: None,
        resumes: Vec::new(),
        bounds: caller.policy.work_bounds(caller.access)?,
    };
    if request.credit == 0 {
        return Err(RequestError::bad_request("\"credit\" must be a number of tasks from 1 to 10000."));
    }
    Ok(request)
}

fn take_functions(functions: Vec<&RawValue>) -> Result<Vec<Registration>, RequestError> {
    let functions = functions.into_iter().enumerate().map(|(index, text)| {
        serde_json::from_str(text.get()).map_err(|error| {
            RequestError::bad_request(format!("\"functions\", number {}: {error}.", index + 1))
        })
    });
    functions.collect()
}

/// # Errors
/// One of the names is too long, or that of the worker is empty.
fn check_names(name: &str, language: &str) -> Result<(), RequestError> {
    if name.is_empty() || name.len().max(language.len()) > NAME_MAX {
        let message = format!("\"worker\" and \"language\" must have at most {NAME_MAX} bytes.");
        return Err(RequestError::bad_request(message));
    }
    Ok(())
}

/// The only queues that a worker takes tasks from.
fn check_queues(queues: Option<Vec<Box<str>>>) -> Result<Option<Vec<Box<str>>>, RequestError> {
    let is_name = |queue: &str| (1..=NAME_MAX).contains(&queue.len());
    match queues {
        Some(queues)
            if !(1..=QUEUES_MAX).contains(&queues.len()) || !queues.iter().all(|queue| is_name(queue)) =>
        {
            let message = format!(
                "\"queues\" must have 1 to {QUEUES_MAX} names of at most {NAME_MAX} bytes; leave it out for all."
            );
            Err(RequestError::bad_request(message))
        }
        queues => Ok(queues),
    }
}

/// The session of a worker that comes back for its leases, and those that it has.
fn take_session(
    call: &mut Call<'_>,
    heartbeats: bool,
) -> Result<(Option<SessionKey>, Vec<String>), RequestError> {
    let secret: Option<String> = call.take("session", "a secret of the worker")?;
    let resumes: Vec<String> =
        call.take("resumes", "a list of leases such as [\"91.7\"]")?.unwrap_or_default();
    let refused = |message: String| Err(RequestError::bad_request(message));
    if resumes.len() > RESUMES_MAX {
        return refused(format!("\"resumes\" has at most {RESUMES_MAX} leases."));
    }
    match secret {
        None if !resumes.is_empty() => {
            refused("\"resumes\" needs the \"session\" that the worker had given before.".to_owned())
        }
        Some(_) if !heartbeats => refused(
            "A worker with a \"session\" sends heartbeats: without, its tasks are lost with the connection."
                .to_owned(),
        ),
        secret => Ok((secret.as_deref().map(SessionKey::of).transpose()?, resumes)),
    }
}

fn take_credit(call: &mut Call<'_>) -> Result<u32, RequestError> {
    Ok(call.take("credit", "a number of tasks")?.unwrap_or(0))
}

async fn settle(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let ends: Vec<&RawValue> = call.need("ends", "a list such as [{\"lease\":\"91.7\",\"result\":42}]")?;
    if ends.len() > ENDS_MAX {
        return Err(RequestError::bad_request(format!("\"ends\" has at most {ENDS_MAX} of them.")));
    }
    let credit = take_credit(&mut call)?;
    let ends = ends.into_iter().enumerate().map(|(index, text)| read_end(&call, index + 1, text));
    let ends = ends.collect::<Result<Vec<_>, _>>()?;
    call.service.remote.settle(call.caller.outbox, call.id(), ends, credit).await?;
    Ok(Outcome::Streaming)
}

async fn credit(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let credit = call.need("credit", "a number of tasks")?;
    call.service.remote.add_credit(call.caller.outbox, credit).map(|()| Outcome::Streaming)
}

async fn begin(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let lease: String = call.need("lease", "the name of a lease")?;
    call.service.remote.begin(call.caller.outbox, &lease).map(|()| Outcome::Streaming)
}

async fn heartbeat(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let leases: Option<Vec<String>> = call.take("leases", "a list of leases such as [\"91.7\"]")?;
    let remote = &call.service.remote;
    match leases {
        None => remote.heartbeat(call.caller.outbox).map(|()| Outcome::Streaming),
        Some(leases) if leases.len() > RESUMES_MAX => {
            Err(RequestError::bad_request(format!("\"leases\" has at most {RESUMES_MAX} of them.")))
        }
        Some(leases) => Ok(Outcome::result(&remote.renew(call.caller.outbox, leases))),
    }
}

async fn progress(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let lease: String = call.need("lease", "the name of a lease")?;
    let percent = call.take("percent", "a number from 0 to 100")?.unwrap_or(0.0);
    let text: String = call.take("text", "a string")?.unwrap_or_default();
    let is_held = call.service.remote.progress(call.caller.outbox, &lease, percent, &text)?;
    Ok(reported(&call, &lease, is_held))
}

async fn log(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let lease: String = call.need("lease", "the name of a lease")?;
    let text: String = call.need("text", "a string")?;
    let is_held = call.service.remote.log(call.caller.outbox, &lease, &text)?;
    Ok(reported(&call, &lease, is_held))
}

/// Replies only that a lease is not held any more.
fn reported(call: &Call<'_>, lease: &str, is_held: bool) -> Outcome {
    if !is_held {
        let mut line = Vec::new();
        ReplyWriter::new(&mut line).stale(call.id(), lease);
        call.caller.outbox.write(None, &line);
    }
    Outcome::Streaming
}

async fn sign_off(call: Call<'_>) -> Result<Outcome, RequestError> {
    call.service.remote.sign_off(call.caller.outbox).map(|()| Outcome::result(&()))
}

async fn workers(call: Call<'_>) -> Result<Outcome, RequestError> {
    Ok(Outcome::result(&call.service.remote.list()))
}

async fn drain(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let name: String = call.need("worker", "the name of a worker")?;
    call.service.remote.drain(&name).map(|count| Outcome::result(&count))
}
