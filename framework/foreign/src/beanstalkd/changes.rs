//! Changes of jobs: deleted, released, buried, kicked, and tubes that pause.

use std::time::{Duration, Instant};

use framework_protocol::RequestError;
use framework_protocol::views::TaskSelector;
use framework_server::server::HeldEnd;
use framework_server::store::{AdminCommand, Release};
use futures_util::future::join_all;

use super::job::Job;
use super::looks::{self, BURIED, JobState, Place, RELEASED};
use super::priority::band;
use super::replies::{self, NOT_FOUND};
use super::state::Session;
use super::tubes;

/// The most jobs that one command kicks.
const KICK_MAX: u32 = 10_000;

/// Deletes jobs: those that the client has reserved are done, others are cancelled or forgotten.
pub(super) async fn delete(session: &mut Session<'_>, ids: Vec<u64>) {
    session.client.count("delete", ids.len() as u64);
    let tubes: Vec<_> = ids.iter().map(|id| session.tasks().find(*id).map(|held| held.taken.task)).collect();
    let ends = ids.iter().map(|id| (*id, HeldEnd::done())).collect();
    let is_done = session.tasks().end(ends).await;
    for ((id, is_done), task) in ids.into_iter().zip(is_done).zip(tubes) {
        if is_done {
            let tube = task.and_then(|task| session.client.shared.find(&task.new.queue));
            tube.iter().for_each(|tube| tubes::add(&tube.deletes, 1));
            session.answer(b"DELETED\r\n");
            continue;
        }
        let deleted = delete_other(session, id).await;
        answer(session, deleted, b"DELETED\r\n");
    }
}

fn answer(session: &mut Session<'_>, result: Result<bool, RequestError>, done: &[u8]) {
    session.answer(match &result {
        Ok(true) => done,
        Ok(false) => NOT_FOUND,
        Err(error) => replies::refusal(error),
    });
}

/// Deletes a job that nobody has reserved.
async fn delete_other(session: &Session<'_>, id: u64) -> Result<bool, RequestError> {
    if session.tasks().find(id).is_some() {
        return Ok(false);
    }
    let Some(found) = looks::find(session, id).await? else { return Ok(false) };
    let task = TaskSelector::Task(id);
    let command = match found.state() {
        JobState::Ready | JobState::Delayed => AdminCommand::Cancel(task),
        JobState::Buried => AdminCommand::Forget(task),
        JobState::Reserved => return Ok(false),
    };
    let is_deleted = session.tasks().change(command).await?;
    if let Some(tube) = session.client.shared.find(found.tube()).filter(|_| is_deleted) {
        tubes::add(&tube.deletes, 1);
    }
    Ok(is_deleted)
}

/// Puts a job back that the client has reserved.
pub(super) async fn release(session: &mut Session<'_>, id: u64, priority: u32, delay: u32) {
    let is_released = put_back(session, id, priority, Some(delay)).await;
    session.answer(if is_released { b"RELEASED\r\n" } else { NOT_FOUND });
}

/// Sets a job aside that the client has reserved.
pub(super) async fn bury(session: &mut Session<'_>, id: u64, priority: u32) {
    let is_buried = put_back(session, id, priority, None).await;
    session.answer(if is_buried { b"BURIED\r\n" } else { NOT_FOUND });
}

/// Ends the attempt of a job that the client has reserved, which waits for so many seconds then, or is buried
/// without any; `false` for one that it has not.
async fn put_back(session: &Session<'_>, id: u64, priority: u32, delay: Option<u32>) -> bool {
    let Some(held) = session.tasks().find(id).filter(|held| held.is_own) else { return false };
    let new = &held.taken.task.new;
    let job = Job::of(&new.function, &new.args);
    let changed = Job { priority, delay: delay.unwrap_or(job.delay), ..job.clone() };
    let is_own_function = *new.function == *super::FUNCTION;
    let revision = (changed != job).then(|| {
        let args = if is_own_function { changed.arguments() } else { new.args.clone() };
        (band(priority), args)
    });
    let release = Release {
        reason: if delay.is_some() { RELEASED } else { BURIED }.to_owned(),
        pause: delay.map(|delay| Duration::from_secs(delay.into())),
        revision,
        counts: true,
    };
    session.tasks().end(vec![(id, HeldEnd::Released(release))]).await == [true]
}

/// Lets up to so many buried jobs of the used tube wait again; if there are none, delayed ones.
pub(super) async fn kick(session: &mut Session<'_>, bound: u32) {
    match kick_some(session, bound.min(KICK_MAX) as usize).await {
        Ok(count) => replies::text(&mut session.output, format_args!("KICKED {count}\r\n")),
        Err(error) => session.answer(replies::refusal(&error)),
    }
}

async fn kick_some(session: &Session<'_>, bound: usize) -> Result<usize, RequestError> {
    if bound == 0 {
        return Ok(0);
    }
    let buried = looks::next(session, Place::Failed, bound).await?;
    let results: Vec<Result<bool, _>> = if buried.is_empty() {
        let delayed = looks::next(session, Place::Delayed, bound).await?;
        join_all(delayed.into_iter().map(|id| undelay(session, id))).await
    } else {
        join_all(buried.into_iter().map(|id| looks::unbury(session, id))).await
    };
    let mut count = 0;
    for result in results {
        count += usize::from(result?);
    }
    Ok(count)
}

/// Lets a delayed job be ready at once; `false` if it does not wait.
async fn undelay(session: &Session<'_>, id: u64) -> Result<bool, RequestError> {
    let tasks = session.tasks();
    let Some(taken) = tasks.take_task(id).await? else { return Ok(false) };
    let new = &taken.task.new;
    let release = Release {
        reason: String::new(),
        pause: Some(Duration::ZERO),
        revision: Some((new.priority, new.args.clone())),
        counts: false,
    };
    Ok(tasks.end(vec![(id, HeldEnd::Released(release))]).await == [true])
}

/// Lets a buried or delayed job be ready.
pub(super) async fn kick_job(session: &mut Session<'_>, id: u64) {
    let kicked = match looks::find(session, id).await {
        Ok(Some(found)) => match found.state() {
            JobState::Buried => looks::unbury(session, id).await,
            JobState::Delayed => undelay(session, id).await,
            JobState::Ready | JobState::Reserved => Ok(false),
        },
        Ok(None) => Ok(false),
        Err(error) => Err(error),
    };
    answer(session, kicked, b"KICKED\r\n");
}

/// Hands out no job of a tube for so many seconds.
pub(super) async fn pause_tube(session: &mut Session<'_>, name: &str, delay: u32) {
    let is_there = match looks::is_there(session, name).await {
        Ok(is_there) => is_there,
        Err(error) => return session.answer(replies::refusal(&error)),
    };
    let tube = session.client.shared.tube(name, session.connection.max_queues()).filter(|_| is_there);
    let Some(tube) = tube else { return session.answer(NOT_FOUND) };
    let time = Duration::from_secs(delay.into());
    tubes::add(&tube.pauses, 1);
    let until = Instant::now().checked_add(time);
    *tube.pause.lock().expect("no panic while the pause is locked") = until.map(|until| (delay, until));
    let paused = session.tasks().pause_queue(name, time).map(|()| true);
    answer(session, paused, b"PAUSED\r\n");
}
