//! Turns the values of a path, a query and headers into the fields of a request on the wire.

use framework_console::config::did_you_mean;
use hyper::header::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::matching::{Kind, Parameter, Place, Route};
use super::percent;
use super::problem::Problem;

/// The values that came with a request, by the names of the route's parameters.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(&'static Parameter, String)>);

impl Params {
    /// Reads what came with a request; `path` holds the values of its path.
    ///
    /// # Errors
    /// Names a value that does not exist, stands twice or cannot be read.
    pub(super) fn read(
        route: &'static Route,
        path: Vec<(&'static str, String)>,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        let mut values = Self::default();
        for (name, value) in path {
            values.add(route, Place::Path, name, value)?;
        }
        for field in percent::fields(query.unwrap_or_default()) {
            let (name, value) =
                field.ok_or_else(|| Problem::bad("The query is not percent-encoded UTF-8."))?;
            values.add(route, Place::Query, &name, value)?;
        }
        for parameter in route.parameters.iter().filter(|parameter| parameter.place == Place::Header) {
            for value in headers.get_all(parameter.name) {
                values.add(route, Place::Header, parameter.name, bare(parameter.name, value)?)?;
            }
        }
        Ok(values)
    }

    fn add(&mut self, route: &'static Route, place: Place, name: &str, value: String) -> Result<(), Problem> {
        let known = || route.parameters.iter().filter(|parameter| parameter.place == place);
        let Some(parameter) = known().find(|parameter| parameter.name == name) else {
            let near = did_you_mean(name, known().map(|parameter| parameter.name));
            return Err(
                Problem::bad(format!("There is no query parameter \"{name}\" here.")).suggesting(near)
            );
        };
        if self.0.iter().any(|(known, _)| known.field() == parameter.field()) {
            return Err(Problem::bad(format!("\"{}\" stands twice.", parameter.field())));
        }
        self.0.push((parameter, value));
        Ok(())
    }

    /// Takes a value out, as it stands.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let index = self.0.iter().position(|(parameter, _)| parameter.name == name)?;
        Some(self.0.remove(index).1)
    }

    /// Appends `,"name":value` for each of them.
    pub(super) fn write(&self, request: &mut Vec<u8>) {
        for (parameter, value) in &self.0 {
            let value = parameter.kind.json(value);
            request.extend_from_slice(format!(",\"{}\":{value}", parameter.field()).as_bytes());
        }
    }
}

impl Parameter {
    /// What it is called on the wire.
    fn field(&self) -> &'static str {
        match self.place {
            Place::Header => "key",
            Place::Path | Place::Query => self.name,
        }
    }
}

impl Kind {
    /// The value as JSON; what does not look as it should is a string, which is refused with the field's name.
    fn json(self, value: &str) -> Value {
        match self {
            Self::Id | Self::Number(..) => digits(value).map_or_else(|| value.into(), Value::from),
            Self::Span | Self::Wait | Self::When => match value.parse::<f64>() {
                Ok(seconds) if seconds.is_finite() => seconds.into(),
                _ => value.into(),
            },
            Self::Names => value.split(',').collect(),
            Self::Text
            | Self::Key
            | Self::HeaderKey
            | Self::State
            | Self::Moment
            | Self::Function
            | Self::Queue => value.into(),
        }
    }
}

/// The value of a header, which may be in quotes.
fn bare(name: &str, value: &HeaderValue) -> Result<String, Problem> {
    let value = value.to_str().unwrap_or_default();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    match bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') && !bare.is_empty() {
        true => Ok(bare.to_owned()),
        false => {
            let detail =
                format!("{name} must be 1 to 256 visible ASCII characters without spaces and quotes.");
            Err(Problem::bad(detail))
        }
    }
}

fn digits(value: &str) -> Option<u64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}
