//! Reserves jobs, and waits for them.

use std::io;
use std::time::{Duration, Instant};

use framework_server::server::{Input, ReservedTask};
use tokio::time::{Instant as Moment, sleep_until};

use super::job::Job;
use super::looks;
use super::replies;
use super::state::Session;
use crate::flow::Flow;

/// A client is told of a job whose time to run is over within this time, instead of waiting for another one.
const MARGIN: Duration = Duration::from_secs(1);
/// The bytes that are read of a client that waits.
const READ_AHEAD: usize = 64 * 1024;
const DEADLINE_SOON: &[u8] = b"DEADLINE_SOON\r\n";

/// Reserves a job for each of these, which wait for so many seconds; `None` is for ever. The other part tells
/// whether the command was `reserve-with-timeout`.
pub(super) async fn reserve(session: &mut Session<'_>, timeouts: &[(Option<u32>, bool)]) -> io::Result<Flow> {
    session.client.becomes_worker();
    for (_, has_timeout) in timeouts {
        session.client.count(if *has_timeout { "reserve-with-timeout" } else { "reserve" }, 1);
    }
    let mut left = timeouts;
    while let [(timeout, _), rest @ ..] = left {
        let room = session.connection.max_held().saturating_sub(session.tasks().held_by().0);
        if room == 0 {
            session.answer(replies::OUT_OF_MEMORY);
            left = rest;
            continue;
        }
        let taken = if session.client.is_stopping {
            Ok(Vec::new())
        } else {
            session.tasks().take(&session.client.queues, left.len().min(room)).await
        };
        match taken {
            Ok(taken) if taken.is_empty() => {
                left = rest;
                if wait(session, *timeout).await? == Flow::Close {
                    return Ok(Flow::Close);
                }
            }
            Ok(taken) => {
                left = &left[taken.len().min(left.len())..];
                taken.iter().for_each(|taken| reserved(session, taken));
            }
            Err(error) => {
                left = rest;
                session.answer(replies::refusal(&error));
            }
        }
    }
    Ok(Flow::Continue)
}

fn reserved(session: &mut Session<'_>, taken: &ReservedTask) {
    let new = &taken.task.new;
    let job = Job::of(&new.function, &new.args);
    replies::job(&mut session.output, "RESERVED", taken.task.id, &job.body);
}

/// Waits for a job, as long as the client is there and none that it holds is about to be lost.
async fn wait(session: &mut Session<'_>, timeout: Option<u32>) -> io::Result<Flow> {
    let now = Instant::now();
    let (held, until) = session.tasks().held_by();
    let soon = until.map(|until| until.checked_sub(MARGIN).unwrap_or(now));
    if session.client.is_stopping || soon.is_some_and(|soon| soon <= now) {
        // No other job will come: what is held is to be ended.
        let is_over = session.client.is_stopping && held == 0;
        if !is_over {
            session.answer(DEADLINE_SOON);
        }
        return Ok(if is_over { Flow::Close } else { Flow::Continue });
    }
    if timeout == Some(0) {
        session.answer(b"TIMED_OUT\r\n");
        return Ok(Flow::Continue);
    }
    session.flush().await?;
    let mut waited = match session.tasks().wait(&session.client.queues) {
        Ok(waited) => waited,
        Err(error) => {
            session.answer(replies::refusal(&error));
            return Ok(Flow::Continue);
        }
    };
    let _waiting = session.client.wait();
    let end = timeout.and_then(|seconds| now.checked_add(Duration::from_secs(seconds.into())));
    let Session { connection, client, buffer, .. } = session;
    tokio::select! {
        biased;
        taken = waited.taken() => match taken {
            Some(taken) => reserved(session, &taken),
            // The server ends.
            None => return Ok(Flow::Close),
        },
        ended = connection.ended(buffer, READ_AHEAD) => match ended? {
            Input::Closed | Input::Bytes => return Err(io::ErrorKind::ConnectionReset.into()),
            Input::Stopping => {
                client.is_stopping = true;
                if held == 0 {
                    return Ok(Flow::Close);
                }
                session.answer(DEADLINE_SOON);
            }
        },
        () = until_time(soon) => session.answer(DEADLINE_SOON),
        () = until_time(end) => session.answer(b"TIMED_OUT\r\n"),
    }
    Ok(Flow::Continue)
}

async fn until_time(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(Moment::from_std(time)).await,
        None => std::future::pending().await,
    }
}

/// Reserves one job, whether it is ready, delayed or buried.
pub(super) async fn reserve_job(session: &mut Session<'_>, id: u64) {
    session.client.becomes_worker();
    match take_one(session, id).await {
        Ok(Some(taken)) => reserved(session, &taken),
        Ok(None) => session.answer(replies::NOT_FOUND),
        Err(error) => session.answer(replies::refusal(&error)),
    }
}

async fn take_one(
    session: &Session<'_>,
    id: u64,
) -> Result<Option<ReservedTask>, framework_protocol::RequestError> {
    let tasks = session.tasks();
    if session.client.is_stopping || tasks.held_by().0 >= session.connection.max_held() {
        return Ok(None);
    }
    if let Some(taken) = tasks.take_task(id).await? {
        return Ok(Some(taken));
    }
    // A buried one waits first.
    match looks::find(session, id).await? {
        Some(found) if found.state() == looks::JobState::Buried && looks::unbury(session, id).await? => {
            tasks.take_task(id).await
        }
        _ => Ok(None),
    }
}
