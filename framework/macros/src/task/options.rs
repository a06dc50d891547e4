//! The options in `#[task(..)]`.

use std::time::Duration;

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Ident, LitInt, LitStr, Result, Token};

use super::cron_spec::CronSpec;

const KNOWN: [&str; 14] = [
    "name",
    "queue",
    "priority",
    "attempts",
    "timeout",
    "backoff",
    "blocking",
    "isolated",
    "concurrency",
    "retention",
    "cron",
    "timezone",
    "missed",
    "overlap",
];

/// The bounds of requests, which hold for functions as well.
const ATTEMPTS_MAX: u32 = 1_000_000;
const BACKOFF_MAX: Duration = Duration::from_secs(49 * 24 * 60 * 60);

/// The options in `#[task(..)]`; `None` is the default.
pub(super) struct Options {
    pub(super) name: LitStr,
    pub(super) queue: Option<LitStr>,
    pub(super) priority: Option<u8>,
    pub(super) attempts: Option<u32>,
    pub(super) timeout: Option<Duration>,
    pub(super) backoff: Option<Duration>,
    pub(super) blocking: bool,
    pub(super) isolated: bool,
    pub(super) concurrency: Option<u32>,
    pub(super) retention: Option<Duration>,
    pub(super) cron: CronSpec,
}

impl Options {
    pub(super) fn read(task: &Ident, attributes: &[Attribute]) -> Result<Self> {
        let mut name = None;
        let mut options = Self {
            name: LitStr::new("", Span::call_site()),
            queue: None,
            priority: None,
            attempts: None,
            timeout: None,
            backoff: None,
            blocking: false,
            isolated: false,
            concurrency: None,
            retention: None,
            cron: CronSpec::default(),
        };
        let mut seen = Vec::new();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("task")) {
            attribute.parse_nested_meta(|option| {
                once(&mut seen, &option)?;
                if option.path.is_ident("name") {
                    name = Some(named(&option, "task")?);
                    return Ok(());
                }
                options.set(&option)
            })?;
        }
        let nameless = || {
            Error::new(
                task.span(),
                "this task has no name: write #[task(name = \"send_mail\")] above the struct",
            )
        };
        Ok(Self { name: name.ok_or_else(nameless)?, ..options })
    }

    fn set(&mut self, option: &ParseNestedMeta) -> Result<()> {
        match option.path.get_ident().map(ToString::to_string).as_deref() {
            Some("queue") => self.queue = Some(named(option, "queue")?),
            Some("priority") => {
                self.priority = Some(integer(option, 0..=9, "priority must be 0 to 9; 9 runs first")?)
            }
            Some("attempts") => {
                self.attempts = Some(integer(
                    option,
                    1..=ATTEMPTS_MAX,
                    "attempts must be 1 to 1000000, the first attempt included",
                )?);
            }
            Some("timeout") => self.timeout = Some(duration(option, "timeout")?),
            Some("backoff") => self.backoff = Some(backoff(option)?),
            Some("retention") => self.retention = Some(duration(option, "retention")?),
            Some("concurrency") => {
                let rule = "concurrency must be 1 or more: the number of tasks of one concurrency_key that run at once";
                self.concurrency = Some(integer(option, 1..=u32::MAX, rule)?);
            }
            Some("blocking") => self.blocking = flag(option, "blocking")?,
            Some("isolated") => self.isolated = flag(option, "isolated")?,
            Some(name) if self.cron.set(name, option)? => {}
            _ => return Err(unknown(option)),
        }
        Ok(())
    }
}

fn once(seen: &mut Vec<String>, option: &ParseNestedMeta) -> Result<()> {
    let name = option.path.get_ident().map(ToString::to_string).unwrap_or_default();
    if seen.contains(&name) {
        return Err(option.error(format!("`{name}` is repeated")));
    }
    seen.push(name);
    Ok(())
}

fn unknown(option: &ParseNestedMeta) -> Error {
    let wrong = option.path.get_ident().map(ToString::to_string).unwrap_or_default();
    let similar = KNOWN
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&wrong, known), known))
        .filter(|(similarity, _)| *similarity >= 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let hint = similar.map(|(_, known)| format!(" Did you mean `{known}`?")).unwrap_or_default();
    option.error(format!("`{wrong}` is not an option of a task.{hint} The options are: {}", KNOWN.join(", ")))
}

fn named(option: &ParseNestedMeta, what: &str) -> Result<LitStr> {
    let literal: LitStr = option.value()?.parse()?;
    let text = literal.value();
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    if !text.is_empty() && text.chars().all(is_valid) {
        return Ok(literal);
    }
    let message = format!(
        "\"{text}\" is not a valid {what} name: use lower case letters, digits, `_`, `-` and `.`, such as \"send_mail\""
    );
    Err(Error::new(literal.span(), message))
}

/// `true` for an option that stands alone.
fn flag(option: &ParseNestedMeta, name: &str) -> Result<bool> {
    if option.input.peek(Token![=]) {
        return Err(option.error(format!("`{name}` has no value: write `{name}` alone")));
    }
    Ok(true)
}

fn integer<N>(option: &ParseNestedMeta, range: std::ops::RangeInclusive<N>, rule: &str) -> Result<N>
where
    N: PartialOrd + std::str::FromStr<Err: std::fmt::Display>,
{
    let literal: LitInt = option.value()?.parse().map_err(|error| Error::new(error.span(), rule))?;
    let number = literal.base10_parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| Error::new(literal.span(), rule))
}

fn backoff(option: &ParseNestedMeta) -> Result<Duration> {
    match duration(option, "backoff")? {
        pause if pause > BACKOFF_MAX => Err(option.error("backoff must be at most 49 days")),
        pause => Ok(pause),
    }
}

fn duration(option: &ParseNestedMeta, name: &str) -> Result<Duration> {
    let wrong = |span| {
        Error::new(
            span,
            format!(
                "{name} must be a duration above zero in a string: {name} = \"30s\", \"500ms\" or \"2m\""
            ),
        )
    };
    let literal: LitStr = option.value()?.parse().map_err(|error| wrong(error.span()))?;
    let duration = humantime::parse_duration(&literal.value()).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| wrong(literal.span()))
}
