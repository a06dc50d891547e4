//! One connection: it reads requests, carries them out in their order, and answers each.

use std::io;

use bytes::Bytes;
use framework_server::server::{ForeignConnection, Input};

use super::decoder::{Command, Decoder, Put, Refusal, Request};
use super::state::Session;
use super::{changes, looks, replies, reserve, stats, tubes};
use crate::flow::Flow;

/// Answers are written when they are this long, in bytes.
const WRITE_SIZE: usize = 64 * 1024;
/// The bytes of jobs that are made together.
const PUT_SIZE: usize = 1024 * 1024;

/// Serves a connection until it ends.
pub(super) async fn serve(connection: ForeignConnection<'_>) -> io::Result<()> {
    let mut session = Session::new(connection);
    let mut decoder = Decoder::new(session.connection.max_length());
    let flow = loop {
        let (requests, has_more) = decode(&mut session, &mut decoder);
        if execute(&mut session, requests).await? == Flow::Close {
            break Flow::Close;
        }
        if has_more {
            continue;
        }
        session.flush().await?;
        // Whoever holds nothing while the server stops has nothing left to do here.
        if session.client.is_stopping && session.tasks().held_by().0 == 0 {
            break Flow::Close;
        }
        match session.connection.read(&mut session.buffer).await? {
            Input::Bytes => {}
            Input::Stopping => session.client.is_stopping = true,
            Input::Closed => break Flow::Continue,
        }
    };
    session.flush().await?;
    if flow == Flow::Close {
        session.connection.close().await;
    }
    Ok(())
}

/// The requests that are complete, and whether there may be more.
fn decode(session: &mut Session<'_>, decoder: &mut Decoder) -> (Vec<Request>, bool) {
    let mut requests = Vec::new();
    let mut bytes = 0;
    while bytes < PUT_SIZE {
        let Some(request) = decoder.next(&mut session.buffer) else { return (requests, false) };
        bytes += if let Request::Put(_, body) = &request { body.len() } else { 0 };
        requests.push(request);
    }
    (requests, true)
}

/// Carries out requests in their order; neighbours of one kind together.
async fn execute(session: &mut Session<'_>, requests: Vec<Request>) -> io::Result<Flow> {
    let mut requests = requests.into_iter().peekable();
    while let Some(request) = requests.next() {
        match request {
            Request::Refused(refusal) => {
                if refusal == Refusal::JobTooBig {
                    session.connection.note_too_long();
                }
                session.answer(replies::refused(refusal));
            }
            Request::Put(put, body) => {
                let mut jobs = vec![(put, body)];
                while let Some(Request::Put(put, body)) =
                    requests.next_if(|next| matches!(next, Request::Put(..)))
                {
                    jobs.push((put, body));
                }
                make_jobs(session, jobs).await;
            }
            Request::Command(Command::Delete(id)) => {
                let mut ids = vec![id];
                while let Some(Request::Command(Command::Delete(id))) =
                    requests.next_if(|next| matches!(next, Request::Command(Command::Delete(_))))
                {
                    ids.push(id);
                }
                changes::delete(session, ids).await;
            }
            Request::Command(Command::Reserve { timeout, has_timeout }) => {
                let is_next = |next: &Request| matches!(next, Request::Command(Command::Reserve { .. }));
                let mut timeouts = vec![(timeout, has_timeout)];
                while let Some(Request::Command(Command::Reserve { timeout, has_timeout })) =
                    requests.next_if(is_next)
                {
                    timeouts.push((timeout, has_timeout));
                }
                if reserve::reserve(session, &timeouts).await? == Flow::Close {
                    return Ok(Flow::Close);
                }
            }
            Request::Command(command) => {
                if carry_out(session, command).await == Flow::Close {
                    return Ok(Flow::Close);
                }
            }
        }
        if session.output.len() >= WRITE_SIZE {
            session.flush().await?;
        }
    }
    Ok(Flow::Continue)
}

/// Makes jobs, which are durable when they are answered.
async fn make_jobs(session: &mut Session<'_>, jobs: Vec<(Put, Bytes)>) {
    let count = jobs.len() as u64;
    session.client.count("put", count);
    session.client.becomes_producer();
    if session.client.is_stopping {
        jobs.iter().for_each(|_| session.answer(replies::DRAINING));
        return;
    }
    let tasks = jobs.iter().map(|(put, body)| session.client.task(*put, body)).collect();
    let mut accepted = 0;
    for result in session.tasks().push(tasks).await {
        match result {
            Ok(id) => {
                accepted += 1;
                replies::text(&mut session.output, format_args!("INSERTED {id}\r\n"));
            }
            Err(error) => session.answer(replies::refusal(&error)),
        }
    }
    tubes::add(&session.client.used.total_jobs, accepted);
    tubes::add(&session.client.shared.counts.jobs, accepted);
}

/// Carries out a command that is no neighbour of others.
async fn carry_out(session: &mut Session<'_>, command: Command) -> Flow {
    session.client.count(name(&command), 1);
    match command {
        Command::Quit => return Flow::Close,
        Command::Use(tube) => choose(session, &tube),
        Command::Watch(tube) => watch(session, &tube),
        Command::Ignore(tube) => ignore(session, &tube),
        Command::ListTubeUsed => using(session),
        Command::ListTubesWatched => {
            let names = session.client.watched.iter().map(|tube| &*tube.name);
            replies::document(&mut session.output, &stats::list(names));
        }
        Command::Release { id, priority, delay } => changes::release(session, id, priority, delay).await,
        Command::Bury { id, priority } => changes::bury(session, id, priority).await,
        Command::Touch(id) => {
            let word = if session.tasks().touch(id) { &b"TOUCHED\r\n"[..] } else { replies::NOT_FOUND };
            session.answer(word);
        }
        Command::Kick(bound) => changes::kick(session, bound).await,
        Command::KickJob(id) => changes::kick_job(session, id).await,
        Command::PauseTube { tube, delay } => changes::pause_tube(session, &tube, delay).await,
        Command::ReserveJob(id) => reserve::reserve_job(session, id).await,
        Command::Peek(id) => looks::peek(session, id).await,
        Command::PeekReady => looks::peek_next(session, looks::Place::Due).await,
        Command::PeekDelayed => looks::peek_next(session, looks::Place::Delayed).await,
        Command::PeekBuried => looks::peek_next(session, looks::Place::Failed).await,
        Command::ListTubes => looks::list_tubes(session).await,
        Command::Stats => looks::stats(session).await,
        Command::StatsJob(id) => looks::stats_job(session, id).await,
        Command::StatsTube(tube) => looks::stats_tube(session, &tube).await,
        // These are carried out together with their neighbours.
        Command::Delete(_) | Command::Reserve { .. } => {}
    }
    Flow::Continue
}

fn using(session: &mut Session<'_>) {
    let name = &session.client.used.name;
    replies::text(&mut session.output, format_args!("USING {name}\r\n"));
}

fn watching(session: &mut Session<'_>) {
    let count = session.client.watched.len();
    replies::text(&mut session.output, format_args!("WATCHING {count}\r\n"));
}

fn choose(session: &mut Session<'_>, name: &str) {
    match session.client.shared.tube(name, session.connection.max_queues()) {
        Some(tube) => {
            tubes::add(&tube.using, 1);
            tubes::take(&session.client.used.using);
            session.client.used = tube;
            using(session);
        }
        None => session.answer(replies::OUT_OF_MEMORY),
    }
}

fn watch(session: &mut Session<'_>, name: &str) {
    if !session.client.watched.iter().any(|tube| *tube.name == *name) {
        let Some(tube) = session.client.shared.tube(name, session.connection.max_queues()) else {
            return session.answer(replies::OUT_OF_MEMORY);
        };
        tubes::add(&tube.watching, 1);
        session.client.watched.push(tube);
        session.client.note_watched();
    }
    watching(session);
}

fn ignore(session: &mut Session<'_>, name: &str) {
    let watched = &mut session.client.watched;
    if let Some(index) = watched.iter().position(|tube| *tube.name == *name) {
        if watched.len() == 1 {
            return session.answer(b"NOT_IGNORED\r\n");
        }
        tubes::take(&watched.remove(index).watching);
        session.client.note_watched();
    }
    watching(session);
}

/// The name under which a command is counted.
fn name(command: &Command) -> &'static str {
    match command {
        Command::Use(_) => "use",
        Command::Watch(_) => "watch",
        Command::Ignore(_) => "ignore",
        Command::Reserve { .. } | Command::ReserveJob(_) | Command::KickJob(_) | Command::Quit => "",
        Command::Delete(_) => "delete",
        Command::Release { .. } => "release",
        Command::Bury { .. } => "bury",
        Command::Touch(_) => "touch",
        Command::Kick(_) => "kick",
        Command::Peek(_) => "peek",
        Command::PeekReady => "peek-ready",
        Command::PeekDelayed => "peek-delayed",
        Command::PeekBuried => "peek-buried",
        Command::PauseTube { .. } => "pause-tube",
        Command::ListTubes => "list-tubes",
        Command::ListTubeUsed => "list-tube-used",
        Command::ListTubesWatched => "list-tubes-watched",
        Command::Stats => "stats",
        Command::StatsJob(_) => "stats-job",
        Command::StatsTube(_) => "stats-tube",
    }
}
