//! Looks at jobs and tubes, which change nothing.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use framework_protocol::RequestError;
use framework_protocol::views::{State, TaskDetails, TaskSelector};
use framework_server::server::HeldInfo;
pub(super) use framework_server::store::BacklogPlace as Place;
use framework_server::store::{AdminCommand, Query, QueryResult, QueueBacklog};

use super::job::Job;
use super::replies::{self, NOT_FOUND};
use super::state::{Session, seconds_until};
use super::stats::{self, JobStats, ServerStats};
use super::tubes::DEFAULT;

/// The reasons in the history of a task, by which the statistics of its job are counted.
pub(super) const RELEASED: &str = "Its worker has released it.";
pub(super) const BURIED: &str = "Its worker has buried it.";

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobState {
    Ready,
    Delayed,
    Reserved,
    Buried,
}

impl JobState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Reserved => "reserved",
            Self::Buried => "buried",
        }
    }
}

/// A job that is there.
pub(super) struct FoundJob {
    details: Box<TaskDetails>,
    state: JobState,
}

impl FoundJob {
    /// A task as a job; `None` for one that has ended for good.
    fn of(details: Box<TaskDetails>) -> Option<Self> {
        let state = match details.summary.state {
            State::Waiting if details.summary.due_ms.is_some_and(|due_ms| due_ms > now_ms()) => {
                JobState::Delayed
            }
            State::Waiting => JobState::Ready,
            State::Running => JobState::Reserved,
            State::Failed => JobState::Buried,
            State::Done | State::Cancelled | State::Expired => return None,
        };
        Some(Self { details, state })
    }

    pub(super) fn state(&self) -> JobState {
        self.state
    }

    pub(super) fn tube(&self) -> &str {
        &self.details.summary.queue
    }

    fn job(&self) -> Job<'_> {
        Job::of(&self.details.summary.function, self.details.args.get().as_bytes())
    }

    fn stats(&self, held: Option<&HeldInfo>) -> JobStats {
        let (details, job) = (&self.details, self.job());
        let count = |is: fn(&str) -> bool| {
            let errors = details.history.iter().filter_map(|attempt| attempt.error.as_deref());
            errors.filter(|error| is(error)).count() as u64
        };
        let buries = count(|error| error == BURIED);
        let left = match self.state {
            JobState::Delayed => {
                details.summary.due_ms.map_or(0, |due_ms| due_ms.saturating_sub(now_ms()) / 1_000)
            }
            JobState::Reserved => seconds_until(held.and_then(|held| held.until)),
            JobState::Ready | JobState::Buried => 0,
        };
        JobStats {
            id: details.summary.id,
            tube: self.tube().to_owned(),
            state: self.state.name(),
            priority: job.priority,
            age: now_ms().saturating_sub(details.summary.accepted_ms) / 1_000,
            delay: job.delay,
            time_to_run: details.timeout_ms.unwrap_or(0) / 1_000,
            time_left: left,
            reserves: details.summary.attempts.into(),
            timeouts: count(|error| error.starts_with(HeldInfo::TIME_OVER)),
            releases: count(|error| error == RELEASED),
            buries,
            kicks: buries - u64::from(self.state == JobState::Buried && buries > 0),
        }
    }
}

/// The statistics of a job that is held for the first time, of which nothing else is to be found.
fn first_attempt(held: &HeldInfo) -> JobStats {
    let (task, new) = (&held.taken.task, &held.taken.task.new);
    let job = Job::of(&new.function, &new.args);
    JobStats {
        id: task.id,
        tube: new.queue.as_ref().to_owned(),
        state: JobState::Reserved.name(),
        priority: job.priority,
        age: now_ms().saturating_sub(task.accepted_ms) / 1_000,
        delay: job.delay,
        time_to_run: new.timeout.map_or(0, |timeout| timeout.as_secs()),
        time_left: seconds_until(held.until),
        reserves: 1,
        timeouts: 0,
        releases: 0,
        buries: 0,
        kicks: 0,
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The job of this id; `None` if there is none, or it is of a function that such clients cannot have.
pub(super) async fn find(session: &Session<'_>, id: u64) -> Result<Option<FoundJob>, RequestError> {
    // The store has no higher ones.
    if i64::try_from(id).is_err() {
        return Ok(None);
    }
    let QueryResult::Task(details) = session.tasks().query(Query::Task(id)).await? else { return Ok(None) };
    let is_job = session.tasks().functions().contains(&details.summary.function);
    Ok(FoundJob::of(details).filter(|_| is_job))
}

/// The next jobs of the used tube.
pub(super) async fn next(
    session: &Session<'_>,
    place: Place,
    limit: usize,
) -> Result<Vec<u64>, RequestError> {
    let functions = session.tasks().functions().to_vec();
    let queue = session.client.used.name.as_ref().to_owned();
    match session.tasks().query(Query::Next { functions, queue, place, limit }).await? {
        QueryResult::Next(ids) => Ok(ids),
        _ => Ok(Vec::new()),
    }
}

/// Lets a buried job wait again; `false` if it is not buried.
pub(super) async fn unbury(session: &Session<'_>, id: u64) -> Result<bool, RequestError> {
    session.tasks().change(AdminCommand::Retry(TaskSelector::Task(id))).await
}

/// The jobs of each tube that has any.
async fn backlog(session: &Session<'_>) -> Result<BTreeMap<String, QueueBacklog>, RequestError> {
    let functions = session.tasks().functions().to_vec();
    match session.tasks().query(Query::Backlog { functions }).await? {
        QueryResult::Backlog(queues) => Ok(queues.into_iter().filter(|(_, jobs)| has_any(jobs)).collect()),
        _ => Ok(BTreeMap::new()),
    }
}

fn has_any(jobs: &QueueBacklog) -> bool {
    jobs.due.iter().sum::<u64>() + jobs.delayed + jobs.running + jobs.failed > 0
}

/// Whether a tube is there: somebody uses or watches it, or it has jobs.
pub(super) async fn is_there(session: &Session<'_>, name: &str) -> Result<bool, RequestError> {
    let is_named = session.client.shared.find(name).is_some_and(|tube| tube.is_referred_to());
    Ok(is_named || name == DEFAULT || backlog(session).await?.contains_key(name))
}

pub(super) async fn peek(session: &mut Session<'_>, id: u64) {
    let found = find(session, id).await;
    found_job(session, found);
}

fn found_job(session: &mut Session<'_>, found: Result<Option<FoundJob>, RequestError>) {
    match found {
        Ok(Some(found)) => {
            replies::job(&mut session.output, "FOUND", found.details.summary.id, &found.job().body);
        }
        Ok(None) => session.answer(NOT_FOUND),
        Err(error) => session.answer(replies::refusal(&error)),
    }
}

/// Shows the next job of the used tube in a place.
pub(super) async fn peek_next(session: &mut Session<'_>, place: Place) {
    let found = match next(session, place, 1).await {
        Ok(ids) => match ids.first() {
            Some(id) => find(session, *id).await,
            None => Ok(None),
        },
        Err(error) => Err(error),
    };
    found_job(session, found);
}

pub(super) async fn stats_job(session: &mut Session<'_>, id: u64) {
    let held = session.tasks().find(id);
    let first = held.as_ref().filter(|held| held.taken.attempt == 1).map(first_attempt);
    let stats = match first {
        Some(first) => Ok(Some(first)),
        None => find(session, id).await.map(|found| found.map(|found| found.stats(held.as_ref()))),
    };
    document(session, stats.map(|stats| stats.map(|stats| stats.document())));
}

fn document(session: &mut Session<'_>, document: Result<Option<String>, RequestError>) {
    match document {
        Ok(Some(document)) => replies::document(&mut session.output, &document),
        Ok(None) => session.answer(NOT_FOUND),
        Err(error) => session.answer(replies::refusal(&error)),
    }
}

pub(super) async fn list_tubes(session: &mut Session<'_>) {
    let list = backlog(session).await.map(|jobs| {
        let named = session.client.shared.all();
        let there = named.iter().map(|tube| &*tube.name).filter(|name| {
            *name == DEFAULT
                || jobs.contains_key(*name)
                || named.iter().any(|tube| *tube.name == **name && tube.is_referred_to())
        });
        let others = jobs.keys().filter(|name| !named.iter().any(|tube| *tube.name == ***name));
        Some(stats::list(there.chain(others.map(String::as_str))))
    });
    document(session, list);
}

pub(super) async fn stats_tube(session: &mut Session<'_>, name: &str) {
    let stats = backlog(session).await.map(|jobs| {
        let tube = session.client.shared.find(name);
        let is_named = name == DEFAULT || tube.as_ref().is_some_and(|tube| tube.is_referred_to());
        let jobs = jobs.get(name).copied();
        (is_named || jobs.is_some()).then(|| stats::of_tube(name, tube.as_deref(), &jobs.unwrap_or_default()))
    });
    document(session, stats);
}

pub(super) async fn stats(session: &mut Session<'_>) {
    let stats = backlog(session).await.map(|jobs| {
        let named = session.client.shared.all();
        let is_there = |name: &str| name == DEFAULT || jobs.contains_key(name);
        let named = named.iter().filter(|tube| is_there(&tube.name) || tube.is_referred_to());
        let others = jobs.keys().filter(|name| session.client.shared.find(name).is_none());
        let server = ServerStats {
            shared: session.client.shared,
            jobs: stats::sum(jobs.values()),
            tubes: named.count() + others.count(),
            timeouts: session.tasks().timeouts(),
            max_job_size: session.connection.max_length(),
            connections: session.connection.connections(),
            is_draining: session.client.is_stopping,
        };
        Some(server.document())
    });
    document(session, stats);
}
