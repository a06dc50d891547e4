//! Verbs about schedules.

use framework_protocol::RequestError;
use framework_protocol::task::TaskId;
use framework_protocol::views::{AdminResult, ScheduleInfo};
use schemars::JsonSchema;
use serde::Serialize;

use super::fields::field;
use crate::server::access::Scope;
use crate::server::service::{Call, Field, Outcome, ResultSchema, Verb};
use crate::store::{Query, QueryResult};

const SCHEDULE: Field = field("schedule", "\"morning_mail\"");

pub(super) static VERBS: &[Verb] = &[
    Verb {
        name: "schedules",
        scope: Some(Scope::Inspect),
        fields: &[],
        about: "What runs by the clock",
        result: ResultSchema::of::<Vec<ScheduleInfo>>(),
        run: |call| Box::pin(list(call)),
    },
    Verb {
        name: "run_schedule",
        scope: Some(Scope::Admin),
        fields: &[SCHEDULE],
        about: "Make a task of a schedule now",
        result: ResultSchema::of::<MadeTask>(),
        run: |call| Box::pin(run_now(call)),
    },
    Verb {
        name: "pause_schedule",
        scope: Some(Scope::Admin),
        fields: &[SCHEDULE],
        about: "Skip the times of a schedule until it is resumed",
        result: ResultSchema::of::<AdminResult>(),
        run: |call| Box::pin(pause(call, true)),
    },
    Verb {
        name: "resume_schedule",
        scope: Some(Scope::Admin),
        fields: &[SCHEDULE],
        about: "End the pause of a schedule",
        result: ResultSchema::of::<AdminResult>(),
        run: |call| Box::pin(pause(call, false)),
    },
];

/// The task that was made of a schedule.
#[derive(Serialize, JsonSchema)]
struct MadeTask {
    task_id: TaskId,
}

async fn list(call: Call<'_>) -> Result<Outcome, RequestError> {
    let mut infos = match call.service.store.query(Query::Schedules).await? {
        QueryResult::Schedules(infos) => infos,
        _ => Vec::new(),
    };
    call.service.scheduler.describe(&mut infos).await;
    Ok(Outcome::result(&infos))
}

async fn run_now(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let task_id = call.service.scheduler.run_now(&schedule(&mut call)?).await?;
    Ok(Outcome::result(&MadeTask { task_id }))
}

async fn pause(mut call: Call<'_>, paused: bool) -> Result<Outcome, RequestError> {
    call.service.scheduler.pause(&schedule(&mut call)?, paused).await?;
    Ok(Outcome::result(&AdminResult::Done))
}

fn schedule(call: &mut Call<'_>) -> Result<String, RequestError> {
    call.need("schedule", "the name of a schedule")
}
