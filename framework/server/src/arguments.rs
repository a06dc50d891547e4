//! Checks arguments against the JSON Schema of a function that is no type of this program.

use framework_protocol::task::{ArgumentCheck, Registration};
use framework_protocol::{ErrorCode, RequestError, ShownName};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// A check of arguments against the schema of a function.
pub(crate) fn argument_check(registration: &Registration) -> Result<ArgumentCheck, RequestError> {
    let name = registration.name.clone();
    let validator = registration.schema.as_ref().map(|schema| validator(&name, schema)).transpose()?;
    Ok(Box::new(move |args| {
        let args = serde_json::from_slice::<Value>(args);
        let args = args.map_err(|error| RequestError::bad_arguments(&name, &error))?;
        let Some(validator) = &validator else { return Ok(()) };
        validator.validate(&args).map_err(|error| {
            let place = match error.instance_path().as_str() {
                "" => String::new(),
                path => format!(" at {path}"),
            };
            let message =
                format!("The arguments do not fit the function {}{place}: {error}.", ShownName(&name));
            RequestError::new(ErrorCode::BadArguments, message)
        })
    }))
}

/// Patterns take linear time, and nothing is fetched from elsewhere.
fn validator(name: &str, schema: &Value) -> Result<Validator, RequestError> {
    let options = jsonschema::options().offline().with_pattern_options(PatternOptions::regex());
    options.build(schema).map_err(|error| {
        let message = format!("The \"schema\" of the function {} cannot be used: {error}.", ShownName(name));
        RequestError::bad_request(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str) -> Result<ArgumentCheck, RequestError> {
        let schema = Some(serde_json::from_str(schema).unwrap());
        argument_check(&Registration { name: "resize".to_owned(), schema, ..Registration::default() })
    }

    #[test]
    fn argument_check_names_the_place_that_does_not_fit() {
        let check = check(r#"{"properties":{"width":{"type":"integer"}},"required":["width"]}"#).unwrap();
        assert_eq!(check(br#"{"width":21}"#), Ok(()));
        let error = check(br#"{"width":"x"}"#).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadArguments);
        assert!(error.message.contains("\"resize\" at /width: "), "{error}");
        assert!(check(b"{}").unwrap_err().message.contains("width"));
    }

    #[test]
    fn argument_check_fetches_nothing_from_elsewhere() {
        for reference in ["http://127.0.0.1:9/a.json", "file:///etc/passwd"] {
            let error = check(&format!(r#"{{"$ref":"{reference}"}}"#)).err().unwrap();
            assert!(error.message.contains("cannot be used"), "{error}");
        }
    }

    #[test]
    fn argument_check_refuses_deep_nesting() {
        let check = check("true").unwrap();
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(check(deep.as_bytes()).unwrap_err().code, ErrorCode::TooDeep);
    }
}
