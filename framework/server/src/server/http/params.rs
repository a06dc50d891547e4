//! The values of a path, a query and headers, as the fields of a request on the wire.

use std::time::Duration;

use framework_console::config::{did_you_mean, duration};
use framework_protocol::{RequestError, ShownName};
use hyper::header::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;

use super::matching::{Parameter, ParameterKind, ParameterPlace, Route};
use super::percent;
use super::problem::Problem;

/// The values of one request, each with the parameter of the route that it is for.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(&'static Parameter, String)>);

impl Params {
    /// Reads the values of a request; `path` holds those of its path.
    ///
    /// # Errors
    /// When a value is for no parameter, stands twice or cannot be read.
    pub(super) fn read(
        route: &'static Route,
        path: Vec<(&'static str, String)>,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let mut values = Self::default();
        for (name, value) in path {
            values.add(route, ParameterPlace::Path, name, value)?;
        }
        for field in percent::fields(query.unwrap_or_default()) {
            let (name, value) =
                field.ok_or_else(|| Problem::bad("The query is not percent-encoded UTF-8."))?;
            values.add(route, ParameterPlace::Query, &name, value)?;
        }
        for parameter in route.parameters.iter().filter(|parameter| parameter.place == ParameterPlace::Header)
        {
            for value in headers.get_all(parameter.name) {
                values.add(route, ParameterPlace::Header, parameter.name, bare(parameter.name, value)?)?;
            }
        }
        Ok(values)
    }

    fn add(
        &mut self,
        route: &'static Route,
        place: ParameterPlace,
        name: &str,
        value: String,
    ) -> Result<(), Problem> {
        let known = || route.parameters.iter().filter(|parameter| parameter.place == place);
        let Some(parameter) = known().find(|parameter| parameter.name == name) else {
            let near = did_you_mean(name, known().map(|parameter| parameter.name));
            return Err(Problem::bad(format!("There is no query parameter {} here.", ShownName(name)))
                .suggesting(near));
        };
        if self.0.iter().any(|(known, _)| field(known) == field(parameter)) {
            return Err(Problem::bad(format!("\"{}\" stands twice.", field(parameter))));
        }
        if matches!(parameter.kind, ParameterKind::Moment | ParameterKind::When) && has_lost_plus(&value) {
            let name = field(parameter);
            return Err(Problem::bad(format!(
                "\"{name}\" has a space where its offset begins: a plus sign in a URL is a space, and is written %2B."
            )));
        }
        self.0.push((parameter, value));
        Ok(())
    }

    /// Removes a value and returns it, as it stands.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(parameter, _)| parameter.name == name)?;
        Some(self.0.remove(index).1)
    }

    /// Removes the time that the client waits at most; `None` if it names none.
    ///
    /// # Errors
    /// When it is no time, or longer than `max` (`max_http_wait`).
    pub(super) fn take_wait(&mut self, max: Duration) -> Result<Option<Duration>, RequestError> {
        self.take("wait").map(|wait| parse_wait(&wait, max)).transpose()
    }

    /// The values by the names of their fields on the wire.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, Value)> {
        self.0.iter().map(|(parameter, value)| (field(parameter), typed(parameter.kind, value)))
    }
}

/// The name of a parameter's field on the wire.
fn field(parameter: &Parameter) -> &'static str {
    match parameter.place {
        ParameterPlace::Header => "key",
        ParameterPlace::Path | ParameterPlace::Query => parameter.name,
    }
}

/// A value of the type that its field takes. What does not look like that type is a string, which the reader
/// of the field refuses by the field's name.
fn typed(kind: ParameterKind, value: &str) -> Value {
    match kind {
        ParameterKind::Id | ParameterKind::Number(..) => {
            digits(value).map_or_else(|| value.into(), Value::from)
        }
        ParameterKind::Names | ParameterKind::Texts | ParameterKind::Tags => value.split(',').collect(),
        ParameterKind::Span
        | ParameterKind::Backoff
        | ParameterKind::Wait
        | ParameterKind::When
        | ParameterKind::Text
        | ParameterKind::Cause
        | ParameterKind::Key
        | ParameterKind::HeaderKey
        | ParameterKind::State
        | ParameterKind::Moment
        | ParameterKind::Function
        | ParameterKind::Queue => value.into(),
    }
}

/// The value of a header, which may be in quotes.
fn bare(name: &str, value: &HeaderValue) -> Result<String, Problem> {
    let value = value.to_str().unwrap_or_default();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
        return Ok(bare.to_owned());
    }
    let detail = format!("{name} must be 1 to 256 visible ASCII characters without spaces and quotes.");
    Err(Problem::bad(detail))
}

/// True when a moment would be one with a plus sign instead of its last space.
fn has_lost_plus(value: &str) -> bool {
    let moment = |(before, after): (&str, &str)| format!("{before}+{after}").parse::<Timestamp>().is_ok();
    value.rsplit_once(' ').is_some_and(moment)
}

fn digits(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

/// Parses `?wait`: `5s`, or a number of seconds.
fn parse_wait(text: &str, max: Duration) -> Result<Duration, RequestError> {
    match duration::parse(text) {
        Some(wait) if wait <= max => Ok(wait),
        Some(_) => {
            let max = humantime::format_duration(max);
            Err(RequestError::bad_request(format!("\"wait\" must be at most {max} (max_http_wait).")))
        }
        None => Err(RequestError::bad_request("\"wait\" must be seconds, or a text such as \"5s\".")),
    }
}
