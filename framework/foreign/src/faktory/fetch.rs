//! Fetches jobs, and ends them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use framework_protocol::RequestError;
use framework_protocol::task::{Outcome, Retry};
use framework_protocol::views::TaskSelector;
use framework_server::server::{HeldEnd, Input, ReservedTask};
use framework_server::store::AdminCommand;

use super::command::Failure;
use super::job::{document, is_discarded, jid, retry_pause};
use super::replies::{self, NIL};
use super::state::FaktorySession;
use crate::flow::Flow;

/// The longest wait for a job.
const WAIT: Duration = Duration::from_secs(2);
/// The most queues of one command.
const QUEUES_MAX: usize = 256;
/// The bytes that are read of a client that waits.
const READ_AHEAD: usize = 64 * 1024;
/// The longest error that is kept of an attempt, in bytes.
const ERROR_MAX: usize = 8 * 1024;

/// Fetches a job from the first of these queues that has one, and waits a little if none has.
pub(super) async fn fetch(session: &mut FaktorySession<'_>, names: &[&str]) -> io::Result<Flow> {
    let names = if names.is_empty() { &["default"][..] } else { names };
    let is_room = session.tasks().held_by().0 < session.connection.max_held();
    if names.len() > QUEUES_MAX {
        session.error(&format!("A worker fetches from at most {QUEUES_MAX} queues."));
        return Ok(Flow::Continue);
    }
    if session.is_stopping || !is_room {
        session.output.extend_from_slice(NIL);
        return Ok(Flow::Continue);
    }
    for name in names {
        match session.tasks().take(&[Box::from(*name)].into(), 1).await.map(|mut taken| taken.pop()) {
            Ok(Some(taken)) => {
                fetched(session, &taken);
                return Ok(Flow::Continue);
            }
            Ok(None) => {}
            Err(error) => {
                session.output.extend_from_slice(&replies::refusal(&error));
                return Ok(Flow::Continue);
            }
        }
    }
    wait(session, names.iter().map(|name| Box::from(*name)).collect()).await
}

async fn wait(session: &mut FaktorySession<'_>, queues: Arc<[Box<str>]>) -> io::Result<Flow> {
    session.flush().await?;
    let mut waited = match session.tasks().wait(&queues) {
        Ok(waited) => waited,
        Err(error) => {
            session.output.extend_from_slice(&replies::refusal(&error));
            return Ok(Flow::Continue);
        }
    };
    let FaktorySession { connection, buffer, .. } = session;
    tokio::select! {
        biased;
        taken = waited.taken() => match taken {
            Some(taken) => fetched(session, &taken),
            None => return Ok(Flow::Close),
        },
        ended = connection.ended(buffer, READ_AHEAD) => match ended? {
            Input::Closed | Input::Bytes => return Err(io::ErrorKind::ConnectionReset.into()),
            Input::Stopping => {
                session.is_stopping = true;
                session.output.extend_from_slice(NIL);
            }
        },
        () = tokio::time::sleep(WAIT) => session.output.extend_from_slice(NIL),
    }
    Ok(Flow::Continue)
}

fn fetched(session: &mut FaktorySession<'_>, taken: &ReservedTask) {
    session.shared.note_fetched(jid(&taken.task), &session.worker, taken.task.id);
    replies::bulk(&mut session.output, &document(&taken.task));
}

/// Notes that a job is done. One that nobody has fetched is none, as with Faktory.
pub(super) async fn ack(session: &mut FaktorySession<'_>, jid: &str) {
    if let Some((worker, id)) = session.shared.take_fetched(jid) {
        if worker.tasks.end(vec![(id, HeldEnd::done())]).await == [true] {
            session.shared.count_end(true);
        }
    }
    session.ok();
}

/// Notes that a job has failed: it is tried again, has failed for good, or is forgotten.
pub(super) async fn fail(session: &mut FaktorySession<'_>, failure: Failure) {
    let Some((worker, id)) = session.shared.take_fetched(&failure.jid) else {
        return session.error("Job not found");
    };
    let Some(held) = worker.tasks.find(id).filter(|held| held.is_own) else {
        return session.error("Job not found");
    };
    let task = held.taken.task;
    let retry = Retry::After(retry_pause(task.failures()));
    let is_ended =
        worker.tasks.end(vec![(id, HeldEnd::Ended(Outcome::failed(sentence(failure), retry)))]).await;
    if is_ended != [true] {
        return session.error("Job not found");
    }
    session.shared.count_end(false);
    let forgotten = match is_discarded(&task) {
        true => worker.tasks.change(AdminCommand::Forget(TaskSelector::Task(id))).await.map(drop),
        false => Ok::<(), RequestError>(()),
    };
    match forgotten {
        Ok(()) => session.ok(),
        Err(error) => session.output.extend_from_slice(&replies::refusal(&error)),
    }
}

/// The error of an attempt: its type, its message and its backtrace.
fn sentence(failure: Failure) -> String {
    let Failure { errtype, message, backtrace, .. } = failure;
    let mut sentence = [errtype, message].into_iter().flatten().collect::<Vec<_>>().join(": ");
    if sentence.is_empty() {
        "The job has failed.".clone_into(&mut sentence);
    }
    for line in backtrace.into_iter().flatten() {
        sentence.push('\n');
        sentence.push_str(&line);
        if sentence.len() > ERROR_MAX {
            break;
        }
    }
    let end = (0..=ERROR_MAX.min(sentence.len())).rev().find(|end| sentence.is_char_boundary(*end));
    sentence.truncate(end.unwrap_or(0));
    sentence
}
