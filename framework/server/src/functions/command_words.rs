//! The command line that is the arguments of a task.

use framework_protocol::task::COMMAND_FUNCTION;
use framework_protocol::{ErrorCode, RequestError};

use crate::processes::CommandLine;

/// The words of a command line, which is one text of JSON.
///
/// # Errors
/// It is no text, or cannot be split into words.
pub(super) fn words(args: &[u8]) -> Result<Vec<String>, RequestError> {
    let text: String = serde_json::from_slice(args)
        .map_err(|error| RequestError::bad_arguments(COMMAND_FUNCTION, &error))?;
    let line = CommandLine::parse(&text).map_err(|sentence| {
        RequestError::new(ErrorCode::BadArguments, format!("The text {text:?} {sentence}."))
    })?;
    let words = [line.program()].into_iter().chain(line.arguments().iter().map(String::as_str));
    Ok(words.map(str::to_owned).collect())
}
