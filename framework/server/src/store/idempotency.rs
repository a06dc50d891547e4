//! Idempotency keys: a key belongs to a function, names one task, and is forgotten with it.

use framework_protocol::task::{NewTask, TaskId};
use framework_protocol::{ErrorCode, RequestError};
use serde_json::Value;

/// Checks that a task is the one that its key names: the arguments are the same JSON.
///
/// # Errors
/// `key_conflict` when they are not.
pub fn check_duplicate(new: &NewTask, first: TaskId, args: &[u8]) -> Result<(), RequestError> {
    if new.args == args || is_same_json(&new.args, args) {
        return Ok(());
    }
    let key = new.extra.as_ref().and_then(|extra| extra.key.as_deref()).unwrap_or_default();
    let message = format!(
        "The key {key:?} belongs to task {first} of \"{}\", whose arguments are others: use a key of its own \
         for each task.",
        new.function
    );
    Err(RequestError::new(ErrorCode::KeyConflict, message))
}

/// Whether two texts are the same JSON, whatever their white space and the order of their fields.
fn is_same_json(one: &[u8], other: &[u8]) -> bool {
    let parse = |text| serde_json::from_slice::<Value>(text).ok();
    parse(one).is_some_and(|one| parse(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_duplicate_compares_arguments_as_json() {
        let new = NewTask::without_handler("any", r#"{"a":1,"b":[2]}"#.into());
        assert_eq!(check_duplicate(&new, 7, br#"{ "b": [2], "a": 1 }"#), Ok(()));
        for other in [r#"{"a":1}"#, r#"{"a":1,"b":[3]}"#, "{"] {
            let error = check_duplicate(&new, 7, other.as_bytes()).unwrap_err();
            assert_eq!(error.code, ErrorCode::KeyConflict);
            assert!(error.message.contains("task 7"), "{error}");
        }
    }
}
