//! Verbs about queues.

use framework_protocol::RequestError;
use framework_protocol::views::{AdminResult, ChangeInfo, QueueInfo};

use super::fields::{self, ChangeReply, DRY_RUN, QUEUE, field};
use crate::server::access::Scope;
use crate::server::service::{Call, Outcome, ResultSchema, Verb};
use crate::store::{AdminCommand, Query};

pub(super) static VERBS: &[Verb] = &[
    Verb {
        name: "queues",
        scope: Some(Scope::Inspect),
        fields: &[],
        about: "The queues and how much is in them",
        result: ResultSchema::of::<Vec<QueueInfo>>(),
        run: |call| Box::pin(async move { fields::list(&call, Query::Queues).await }),
    },
    Verb {
        name: "pause",
        scope: Some(Scope::Admin),
        fields: &[QUEUE],
        about: "Start no task of a queue until it is resumed",
        result: ResultSchema::of::<AdminResult>(),
        run: |call| Box::pin(pause(call, true)),
    },
    Verb {
        name: "resume",
        scope: Some(Scope::Admin),
        fields: &[QUEUE],
        about: "Start tasks of a paused queue again",
        result: ResultSchema::of::<AdminResult>(),
        run: |call| Box::pin(pause(call, false)),
    },
    Verb {
        name: "flush",
        scope: Some(Scope::Admin),
        fields: &[QUEUE, DRY_RUN],
        about: "Cancel what waits in a queue, or in all of them",
        result: ResultSchema::of::<ChangeReply>(),
        run: |call| Box::pin(flush(call)),
    },
    Verb {
        name: "changes",
        scope: Some(Scope::Inspect),
        fields: &[],
        about: "The changes of many tasks that are under way, and how far they are",
        result: ResultSchema::of::<Vec<ChangeInfo>>(),
        run: |call| Box::pin(async move { fields::list(&call, Query::Changes).await }),
    },
    Verb {
        name: "stop_change",
        scope: Some(Scope::Admin),
        fields: &[field("change", "1")],
        about: "End a change of many tasks; what is changed by then stays so",
        result: ResultSchema::of::<AdminResult>(),
        run: |call| Box::pin(stop_change(call)),
    },
];

async fn pause(mut call: Call<'_>, paused: bool) -> Result<Outcome, RequestError> {
    let queue = fields::queue(&mut call).await?;
    let queue = queue.ok_or_else(|| RequestError::bad_request("Which \"queue\"?"))?;
    let command = AdminCommand::Pause { queue, paused };
    call.service.apply(command).await.map(|result| Outcome::result(&result))
}

async fn stop_change(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let command = AdminCommand::StopChange(call.need("change", "the id of a change")?);
    call.service.apply(command).await.map(|result| Outcome::result(&result))
}

async fn flush(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let command = AdminCommand::Flush { queue: fields::queue(&mut call).await? };
    let is_dry_run = fields::dry_run(&mut call)?;
    fields::change(&call, command, is_dry_run).await
}
