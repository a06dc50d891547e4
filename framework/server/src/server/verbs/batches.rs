//! Verbs about batches.

use framework_protocol::RequestError;
use framework_protocol::task::Handler;
use framework_protocol::views::{AdminResult, BatchInfo};

use super::fields::{self, BATCH, FUNCTION, LIMIT, field};
use crate::server::access::Scope;
use crate::server::service::{Call, Outcome, ResultSchema, Verb};
use crate::store::{AdminCommand, Query};

/// The longest name of a batch, in bytes.
const NAME_MAX: usize = 200;

pub(super) static VERBS: &[Verb] = &[
    Verb {
        name: "open_batch",
        scope: Some(Scope::Send),
        fields: &[field("name", "\"import\""), FUNCTION, field("then", "\"report\"")],
        about: "Open a batch, whose tasks are held back until it is sealed",
        result: ResultSchema::of::<AdminResult>(),
        run: |call| Box::pin(open(call)),
    },
    Verb {
        name: "seal_batch",
        scope: Some(Scope::Send),
        fields: &[BATCH],
        about: "Seal a batch, so that its tasks may run",
        result: ResultSchema::of::<AdminResult>(),
        run: |call| Box::pin(seal(call)),
    },
    Verb {
        name: "batches",
        scope: Some(Scope::Inspect),
        fields: &[LIMIT],
        about: "The last batches",
        result: ResultSchema::of::<Vec<BatchInfo>>(),
        run: |call| Box::pin(batches(call)),
    },
    Verb {
        name: "batch",
        scope: Some(Scope::Send),
        fields: &[BATCH],
        about: "A batch and how far it is",
        result: ResultSchema::of::<BatchInfo>(),
        run: |call| Box::pin(batch(call)),
    },
];

async fn open(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let handlers = call.service.intake.handlers();
    let name: String = call.need("name", "a string")?;
    if name.len() > NAME_MAX {
        let message = format!("\"name\" must be at most {NAME_MAX} bytes long.");
        return Err(RequestError::bad_request(message));
    }
    let function = handlers.find(&call.need::<String>("function", "the name of a function")?)?;
    let then = call.take::<String>("then", "the name of a function")?;
    let then = then.map(|then| handlers.find(&then).and_then(require_batch_handler)).transpose()?;
    let then = then.map(|handler| handler.name.to_owned());
    let command = AdminCommand::OpenBatch { name, function: function.name.to_owned(), then };
    call.service.apply(command).await.map(|result| Outcome::result(&result))
}

/// A function that runs when a batch has ended has to take the report of the batch as its arguments.
fn require_batch_handler(handler: &'static Handler) -> Result<&'static Handler, RequestError> {
    let report =
        br#"{"batch":1,"name":"","function":"","total":0,"done":0,"failed":0,"cancelled":0,"expired":0}"#;
    handler.check(report).map(|()| handler)
}

async fn seal(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let command = AdminCommand::SealBatch(fields::batch(&mut call)?);
    call.service.apply(command).await.map(|result| Outcome::result(&result))
}

async fn batches(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let limit = fields::limit(&mut call)?;
    fields::list(&call, Query::Batches { limit }).await
}

async fn batch(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let batch = fields::batch(&mut call)?;
    fields::find(&call, Query::Batch(batch), || RequestError::unknown_batch(batch)).await
}
