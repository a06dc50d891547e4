//! The pages, one file each.

mod batches;
mod failures;
mod functions;
mod overview;
mod queues;
mod schedules;
mod server;
mod sign_in;
mod task;
mod tasks;
mod workers;

use framework_protocol::{ErrorCode, RequestError};

pub(crate) use self::functions::send;
pub(crate) use self::sign_in::{sign_in, sign_out};
use crate::actions;
use crate::layout::Screen;
use crate::visit::Visit;

/// The page at the path of a visit.
///
/// # Errors
/// There is none, or what it would show cannot be had.
pub(crate) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let parts: Vec<&str> = visit.path.iter().map(String::as_str).collect();
    match parts[..] {
        [""] => overview::show(visit).await,
        ["queues"] => queues::show(visit).await,
        ["tasks"] => tasks::show(visit).await,
        ["tasks", id] => task::show(visit, id).await,
        ["failures"] => failures::show(visit).await,
        ["batches"] => batches::show(visit).await,
        ["batches", id] => batches::show_one(visit, id).await,
        ["schedules"] => schedules::show(visit).await,
        ["workers"] => workers::show(visit).await,
        ["functions"] => functions::show(visit).await,
        ["functions", name] => functions::show_one(visit, name, None).await,
        ["server"] => server::show(visit).await,
        ["act"] => actions::question(visit).await,
        ["login"] => Ok(sign_in::show(visit, None)),
        _ => Err(nothing(&visit.path.join("/"))),
    }
}

/// The error for a page that is not there.
pub(crate) fn nothing(path: &str) -> RequestError {
    RequestError::new(ErrorCode::UnknownCommand, format!("There is no page \"{path}\"."))
}

/// The number in a path.
///
/// # Errors
/// It is none.
fn id(text: &str) -> Result<u64, RequestError> {
    text.parse().map_err(|_| nothing(text))
}
