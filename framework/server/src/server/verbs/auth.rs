//! The verb that exchanges a token for rights.

use std::borrow::Cow;

use framework_protocol::{AUTH, CommandRequest, ErrorCode, RequestError};
use serde::Deserialize;

use super::fields::field;
use crate::server::access::Scope;
use crate::server::service::{Call, Outcome, ResultSchema, Verb};

pub(super) static VERBS: &[Verb] = &[Verb {
    name: AUTH,
    scope: None,
    fields: &[field("token", "\"..\"")],
    about: "Show a token; the first message where the server requires one",
    result: ResultSchema::of::<Vec<Scope>>(),
    run: |call| Box::pin(auth(call)),
}];

#[derive(Deserialize)]
struct TokenText<'a>(#[serde(borrow)] Cow<'a, str>);

/// The token of a request with this verb.
///
/// # Errors
/// When there is none, or there are other fields.
pub(crate) fn token<'a>(request: &mut CommandRequest<'a>) -> Result<Cow<'a, str>, RequestError> {
    let TokenText(token) = request.need("token", "a string")?;
    request.only(&[])?;
    Ok(token)
}

async fn auth(mut call: Call<'_>) -> Result<Outcome, RequestError> {
    let token = token(&mut call.request)?;
    if call.caller.outbox.is_worker() {
        let message =
            "This connection is a worker by the token that it has shown: open another one for other rights.";
        return Err(RequestError::new(ErrorCode::Conflict, message));
    }
    call.caller.authenticate(&token).await.map(Outcome::Granted)
}
