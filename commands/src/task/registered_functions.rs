//! The functions that workers have registered with a running server.

use std::time::Duration;

use framework::client::{Client, ClientError};
use framework::prelude::*;
use framework::protocol::{ErrorCode, RequestError};
use framework::task::HandlerInfo;
use tokio::time::timeout;

use crate::options::server_address::{ServerAddress, exit_error};

/// The longest wait for the server's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of a function that this program does not have.
pub(super) enum RegisteredFunction {
    Known(Box<HandlerInfo>),
    /// The server does not know it either.
    Unknown(RequestError),
    /// No server says so, for this reason.
    NotTold(String),
}

/// The registered functions in the order of their names; none without a server.
///
/// # Errors
/// The server is there, and does not list its functions.
pub(super) async fn list(server: &ServerAddress, app: &App) -> Result<Vec<HandlerInfo>> {
    if app.config().is_err() {
        return Ok(Vec::new());
    }
    let Some(client) = server.connect_if_running(app).await? else { return Ok(Vec::new()) };
    let mut functions = ask(&client, None).await?.map_err(exit_error)?;
    functions.retain(|function| function.registered);
    Ok(functions)
}

/// The registered function of this name.
pub(super) async fn find(server: &ServerAddress, app: &App, name: &str) -> RegisteredFunction {
    let client = match server.connect_if_running(app).await {
        Ok(Some(client)) => client,
        Ok(None) => {
            return RegisteredFunction::NotTold("no server is running that may know it".to_owned());
        }
        Err(error) => return RegisteredFunction::NotTold(format!("{error:#}")),
    };
    match ask(&client, Some(name)).await {
        Ok(Ok(found)) => match found.into_iter().next() {
            Some(function) => RegisteredFunction::Known(Box::new(function)),
            None => RegisteredFunction::NotTold("the server does not describe it".to_owned()),
        },
        Ok(Err(ClientError::Refused(refusal))) if refusal.code == ErrorCode::UnknownFunction => {
            RegisteredFunction::Unknown(refusal)
        }
        Ok(Err(error)) => RegisteredFunction::NotTold(exit_error(error).to_string()),
        Err(error) => RegisteredFunction::NotTold(error.to_string()),
    }
}

async fn ask(client: &Client, name: Option<&str>) -> Result<Result<Vec<HandlerInfo>, ClientError>> {
    timeout(ANSWER_TIMEOUT, client.functions(name)).await.context("the server does not answer in time")
}
