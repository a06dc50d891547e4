//! Queues: their pauses, their jobs all together, and the numbers of the server.

use std::collections::BTreeMap;

use framework_protocol::RequestError;
use framework_protocol::views::TaskSelector;
use framework_server::store::{AdminCommand, BacklogPlace, Query, QueryResult, QueueBacklog};
use serde_json::{Map, Value, json};

use super::FUNCTION;
use super::command::{QueueAction, QueueCommand};
use super::job::now_ms;
use super::replies;
use super::state::FaktorySession;
use super::workers::Totals;

/// The jobs that are removed at a time.
const REMOVE_STEP: usize = 1_000;

/// The jobs of each queue that has any, of all protocols.
async fn backlog(session: &FaktorySession<'_>) -> Result<BTreeMap<String, QueueBacklog>, RequestError> {
    backlog_of(session, session.tasks().functions().to_vec()).await
}

/// The jobs of these functions.
async fn backlog_of(
    session: &FaktorySession<'_>,
    functions: Vec<String>,
) -> Result<BTreeMap<String, QueueBacklog>, RequestError> {
    match session.tasks().query(Query::Backlog { functions }).await? {
        QueryResult::Backlog(queues) => Ok(queues),
        _ => Ok(BTreeMap::new()),
    }
}

/// Carries out a command about queues.
pub(super) async fn queue(session: &mut FaktorySession<'_>, command: QueueCommand<'_>) {
    let names = match named(session, &command.names).await {
        Ok(names) => names,
        Err(error) => return session.output.extend_from_slice(&replies::refusal(&error)),
    };
    if command.action == QueueAction::Latency {
        return latency(session, &names).await;
    }
    for queue in names {
        let done = match command.action {
            QueueAction::Remove => remove(session, &queue, &[BacklogPlace::Due]).await,
            action => {
                let paused = action == QueueAction::Pause;
                session.tasks().apply(AdminCommand::Pause { queue, paused }).await.map(drop)
            }
        };
        if let Err(error) = done {
            return session.output.extend_from_slice(&replies::refusal(&error));
        }
    }
    session.ok();
}

/// The queues that a command names, as far as they are there.
async fn named(session: &FaktorySession<'_>, names: &[&str]) -> Result<Vec<String>, RequestError> {
    let jobs = backlog(session).await?;
    if names.contains(&"*") {
        return Ok(jobs.into_keys().collect());
    }
    let is_there = |name: &&str| jobs.contains_key(*name) || session.shared.knows_queue(name);
    Ok(names.iter().copied().filter(is_there).map(str::to_owned).collect())
}

/// The age of the next job of each queue, in seconds.
async fn latency(session: &mut FaktorySession<'_>, queues: &[String]) {
    let mut ages = Map::new();
    for queue in queues {
        let functions = session.tasks().functions().to_vec();
        let age = match next(session, functions, queue, BacklogPlace::Due, 1).await {
            Ok(ids) => age(session, ids.first().copied()).await,
            Err(error) => Err(error),
        };
        match age {
            Ok(age) => _ = ages.insert(queue.clone(), json!(age)),
            Err(error) => return session.output.extend_from_slice(&replies::refusal(&error)),
        }
    }
    replies::bulk(&mut session.output, Value::Object(ages).to_string().as_bytes());
}

async fn age(session: &FaktorySession<'_>, id: Option<u64>) -> Result<f64, RequestError> {
    let Some(id) = id else { return Ok(0.0) };
    match session.tasks().query(Query::Task(id)).await? {
        QueryResult::Task(details) => {
            Ok(now_ms().saturating_sub(details.summary.accepted_ms) as f64 / 1_000.0)
        }
        _ => Ok(0.0),
    }
}

async fn next(
    session: &FaktorySession<'_>,
    functions: Vec<String>,
    queue: &str,
    place: BacklogPlace,
    limit: usize,
) -> Result<Vec<u64>, RequestError> {
    let query = Query::Next { functions, queue: queue.to_owned(), place, limit };
    match session.tasks().query(query).await? {
        QueryResult::Next(ids) => Ok(ids),
        _ => Ok(Vec::new()),
    }
}

/// Removes the jobs of Faktory's clients in a queue that are in these places.
async fn remove(
    session: &FaktorySession<'_>,
    queue: &str,
    places: &[BacklogPlace],
) -> Result<(), RequestError> {
    for place in places {
        loop {
            let ids = next(session, vec![FUNCTION.into()], queue, *place, REMOVE_STEP).await?;
            let mut removed = 0;
            for id in &ids {
                let task = TaskSelector::Task(*id);
                let command = match place {
                    BacklogPlace::Failed => AdminCommand::Forget(task),
                    BacklogPlace::Due | BacklogPlace::Delayed => AdminCommand::Cancel(task),
                };
                removed += usize::from(session.tasks().change(command).await?);
            }
            if removed == 0 || ids.len() < REMOVE_STEP {
                break;
            }
        }
    }
    Ok(())
}

/// Removes all jobs of Faktory's clients that no worker holds, and no other task.
pub(super) async fn flush(session: &mut FaktorySession<'_>) {
    const PLACES: [BacklogPlace; 3] = [BacklogPlace::Due, BacklogPlace::Delayed, BacklogPlace::Failed];
    let removed = async {
        for queue in backlog_of(session, vec![FUNCTION.into()]).await?.into_keys() {
            remove(session, &queue, &PLACES).await?;
        }
        Ok::<(), RequestError>(())
    };
    match removed.await {
        Ok(()) => session.ok(),
        Err(error) => session.output.extend_from_slice(&replies::refusal(&error)),
    }
}

/// The numbers of the server.
pub(super) async fn info(session: &mut FaktorySession<'_>) {
    let jobs = match backlog(session).await {
        Ok(jobs) => jobs,
        Err(error) => return session.output.extend_from_slice(&replies::refusal(&error)),
    };
    let due: BTreeMap<_, _> = jobs.iter().map(|(name, jobs)| (name, jobs.due.iter().sum::<u64>())).collect();
    let sum = |of: fn(&QueueBacklog) -> u64| jobs.values().map(of).sum::<u64>();
    let Totals { pushed, done, failed, commands } = session.shared.totals();
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let info = json!({
        "server_utc_time": now[11..].replace('Z', " UTC"),
        "now": now,
        "faktory": {
            "queues": due,
            "default_size": due.get(&"default".to_owned()).copied().unwrap_or(0),
            "total_enqueued": due.values().sum::<u64>(),
            "total_queues": due.len(),
            "total_processed": done + failed,
            "total_failures": failed,
            "tasks": {
                "Scheduled": {"size": sum(|jobs| jobs.delayed)},
                "Working": {"size": sum(|jobs| jobs.running)},
                "Dead": {"size": sum(|jobs| jobs.failed)},
            },
        },
        "server": {
            "description": "think",
            "faktory_version": concat!("1.9 think ", env!("CARGO_PKG_VERSION")),
            "uptime": session.shared.started.elapsed().as_secs(),
            "connections": session.connection.connections().0,
            "command_count": commands,
            "pushed_count": pushed,
        },
    });
    replies::bulk(&mut session.output, info.to_string().as_bytes());
}
