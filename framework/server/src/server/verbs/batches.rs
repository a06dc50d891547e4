//! Verbs about batches.

use framework_protocol::task::Function;
use framework_protocol::views::{AdminResult, BatchInfo};
use framework_protocol::{ErrorCode, RequestError};

use super::fields::{self, BATCH, FUNCTION, LIMIT, field};
use crate::server::access::Scope;
use crate::server::metrics::Limit;
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
    let function = handlers.function(&call.need::<String>("function", "the name of a function")?)?;
    let then = call.take::<String>("then", "the name of a function")?;
    let then = then.map(|then| handlers.function(&then).and_then(require_batch_handler)).transpose()?;
    let then = then.map(|function| function.name().as_ref().to_owned());
    let command = AdminCommand::OpenBatch { name, function: function.name().as_ref().to_owned(), then };
    let opened = call.service.apply(command).await;
    if opened.as_ref().is_err_and(|error| error.code == ErrorCode::Busy) {
        call.service.metrics.limits.hit(Limit::MaxOpenBatches);
    }
    opened.map(|result| Outcome::result(&result))
}

/// A function that runs when a batch has ended has to take the report of the batch as its arguments.
fn require_batch_handler(function: Function<'_>) -> Result<Function<'_>, RequestError> {
    let report =
        br#"{"batch":1,"name":"","function":"","total":0,"done":0,"failed":0,"cancelled":0,"expired":0}"#;
    function.check(report).map(|()| function)
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
