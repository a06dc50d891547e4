//! Reads the values of a request's fields; every error names the field.

use std::borrow::Cow;
use std::time::Duration;

use framework_console::config::duration;
use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::RequestError;
use crate::tags::Tags;

/// The longest key, in bytes.
const KEY_MAX: usize = 256;
/// The greatest number of functions that may follow a task.
const THEN_MAX: usize = 16;
/// The longest time span: a century. Beyond it a time is a mistake, and would overflow elsewhere.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The longest backoff.
const BACKOFF_MAX: Duration = Duration::from_secs(49 * 24 * 60 * 60);

const SPAN: &str = "seconds, or a text such as \"90s\" or \"1h 30m\", and at most 100 years";
const MOMENT: &str = "a date and time with its offset, such as \"2026-12-01T09:00:00+08:00\"";

/// The range of moments that are represented, whatever their offset.
const RANGE: &str = "before 9999-12-30T22:00:00Z, and not before -9999-01-02T01:59:59Z";

/// A time span from now on, or a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSpec {
    After(Duration),
    /// In milliseconds since 1970, UTC.
    At(u64),
}

/// The value of a field: part of a JSON text, or a separate value as from a URL.
pub(super) trait FieldValue<'a>: Copy {
    /// The value; `None` when it is not of this type.
    fn parse<T: Deserialize<'a>>(self) -> Option<T>;
}

impl<'a> FieldValue<'a> for &'a RawValue {
    fn parse<T: Deserialize<'a>>(self) -> Option<T> {
        serde_json::from_str(self.get()).ok()
    }
}

impl<'a> FieldValue<'a> for &'a Value {
    fn parse<T: Deserialize<'a>>(self) -> Option<T> {
        T::deserialize(self).ok()
    }
}

fn must_be(name: &str, expected: &str) -> RequestError {
    RequestError::bad_request(format!("\"{name}\" must be {expected}."))
}

/// A field's value; absent and `null` are `None`.
pub(super) fn read<'a, T: Deserialize<'a>>(
    name: &str,
    expected: &str,
    value: Option<impl FieldValue<'a>>,
) -> Result<Option<T>, RequestError> {
    let Some(value) = value else { return Ok(None) };
    value.parse().ok_or_else(|| must_be(name, expected))
}

#[derive(Deserialize)]
struct TextValue<'a>(#[serde(borrow)] Cow<'a, str>);

pub(super) fn text<'a>(
    name: &str,
    expected: &str,
    value: Option<impl FieldValue<'a>>,
) -> Result<Option<Cow<'a, str>>, RequestError> {
    Ok(read::<TextValue<'a>>(name, expected, value)?.map(|text| text.0))
}

/// A key: not empty, and bounded, for the store remembers it. Files and terminals have trouble with control
/// characters.
pub(super) fn key<'a>(
    name: &str,
    value: Option<impl FieldValue<'a>>,
) -> Result<Option<Cow<'a, str>>, RequestError> {
    let expected = "a string of 1 to 256 bytes without control characters";
    let is_key = |key: &str| (1..=KEY_MAX).contains(&key.len()) && !key.contains(char::is_control);
    match text(name, expected, value)? {
        Some(key) if !is_key(&key) => Err(must_be(name, expected)),
        key => Ok(key),
    }
}

/// Tags; none if there is no value.
pub(super) fn tags_of<'a>(value: Option<impl FieldValue<'a>>) -> Result<Tags, RequestError> {
    let expected = "at most 16 tags such as {\"tenant\":\"7\"}, in a URL tenant=7,order=4711: names of 1 to 64 letters, digits, \
        dots, dashes and underscores, with values of at most 256 bytes without commas and control characters";
    read("tags", expected, value).map(Option::unwrap_or_default)
}

/// A number of at least `least` and at most `most`.
pub(super) fn number<'a, N>(
    name: &str,
    least: N,
    most: N,
    value: Option<impl FieldValue<'a>>,
) -> Result<Option<N>, RequestError>
where
    N: PartialOrd + std::fmt::Display + Deserialize<'a>,
{
    if value.is_none() {
        return Ok(None);
    }
    let expected = format!("a number from {least} to {most}");
    match read(name, &expected, value)? {
        Some(number) if number < least || number > most => Err(must_be(name, &expected)),
        number => Ok(number),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Span<'a> {
    Seconds(f64),
    Text(#[serde(borrow)] Cow<'a, str>),
}

impl Span<'_> {
    fn duration(&self) -> Option<Duration> {
        let span = match self {
            Self::Seconds(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            Self::Text(text) => duration::parse(text),
        };
        span.filter(|span| *span <= LONGEST)
    }
}

/// A time span: a number of seconds, or a text such as `"90s"` or `"1h 30m"`.
pub(super) fn span<'a>(
    name: &str,
    value: Option<impl FieldValue<'a>>,
) -> Result<Option<Duration>, RequestError> {
    let Some(span) = read::<Span>(name, SPAN, value)? else { return Ok(None) };
    span.duration().map(Some).ok_or_else(|| must_be(name, SPAN))
}

/// A pause that doubles: it is kept in milliseconds, in a small number.
pub(super) fn backoff<'a>(value: Option<impl FieldValue<'a>>) -> Result<Option<Duration>, RequestError> {
    match span("backoff", value)? {
        Some(pause) if pause > BACKOFF_MAX => Err(must_be("backoff", "at most 49 days")),
        pause => Ok(pause),
    }
}

/// A point in time, in milliseconds since 1970.
pub(super) fn moment<'a>(
    name: &str,
    value: Option<impl FieldValue<'a>>,
) -> Result<Option<u64>, RequestError> {
    let Some(text) = text(name, MOMENT, value)? else { return Ok(None) };
    milliseconds(&text).map(Some).ok_or_else(|| no_moment(name, &text, MOMENT))
}

/// A time span, or a point in time.
pub(super) fn when<'a>(
    name: &str,
    value: Option<impl FieldValue<'a>>,
) -> Result<Option<TimeSpec>, RequestError> {
    if value.is_none() {
        return Ok(None);
    }
    let expected = format!("{SPAN}; or {MOMENT}");
    let Some(span) = read::<Span>(name, &expected, value)? else { return Ok(None) };
    let moment = match &span {
        Span::Text(text) => milliseconds(text),
        Span::Seconds(_) => None,
    };
    let when = moment.map(TimeSpec::At).or_else(|| span.duration().map(TimeSpec::After));
    when.map(Some).ok_or_else(|| match &span {
        Span::Text(text) => no_moment(name, text, &expected),
        Span::Seconds(_) => must_be(name, &expected),
    })
}

/// The error for a text that is no moment, or one beyond those that can be represented.
fn no_moment(name: &str, text: &str, expected: &str) -> RequestError {
    let is_date =
        Pieces::parse(text).is_ok_and(|pieces| pieces.time().is_some() && pieces.offset().is_some());
    must_be(name, if is_date { RANGE } else { expected })
}

/// A time before 1970 counts as 1970: both are in the past.
fn milliseconds(text: &str) -> Option<u64> {
    let moment: Timestamp = text.parse().ok()?;
    Some(u64::try_from(moment.as_millisecond()).unwrap_or(0))
}

/// A name, or a list of names.
pub(super) fn names<'a>(
    name: &str,
    value: Option<impl FieldValue<'a>>,
) -> Result<Vec<Cow<'a, str>>, RequestError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names<'a> {
        One(#[serde(borrow)] Cow<'a, str>),
        Many(#[serde(borrow)] Vec<TextValue<'a>>),
    }
    let expected = "a function's name, or a list of up to 16 of them";
    match read(name, expected, value)? {
        None => Ok(Vec::new()),
        Some(Names::One(one)) => Ok(vec![one]),
        Some(Names::Many(many)) if many.len() <= THEN_MAX => {
            Ok(many.into_iter().map(|name| name.0).collect())
        }
        Some(Names::Many(_)) => Err(must_be(name, expected)),
    }
}
