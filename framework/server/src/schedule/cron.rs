//! Cron expressions and the times they denote in a time zone.

mod expand;

use std::fmt;

use croner::parser::{CronParser, Seconds, Year};
use framework_console::config::did_you_mean;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Times of a clock on the wall, such as `0 9 * * mon-fri` in `Asia/Shanghai`.
///
/// The fields are minute, hour, day of the month, month and day of the week; a sixth in front is the second.
/// Each is `*`, a number, a range `1-5` or `fri-mon`, a list `1,15` or has a step `*/10`. Months and days of
/// the week have names (`jan`, `mon`; Sunday is 0 and 7). The day of the month may be `L`, the last, or
/// `15W`, the weekday nearest to the 15th; the day of the week may be `fri#2`, the second Friday, or `fri#L`,
/// the last. If both days are given, one of them suffices; with a `+` in front of the day of the week, both
/// have to be right. `@hourly`, `@daily` or `@midnight`, `@weekly`, `@monthly` and `@yearly` or `@annually`
/// stand for the first moment of each.
///
/// In spring, when the clock skips an hour: a schedule with one time a day, whose second, minute and hour are
/// single numbers, runs at the first moment after a gap that its time is in; any other skips the times that
/// do not exist. In autumn, when an hour comes twice: a schedule with one time a day runs in the first of the
/// two, any other in both. So a day has exactly one run of `30 2 * * *`, and `*/30 * * * *` is every half an
/// hour always.
#[derive(Clone)]
pub struct Cron {
    text: Box<str>,
    expression: croner::Cron,
    is_wildcard: bool,
    zone: TimeZone,
}

impl Cron {
    /// # Errors
    /// The problem with the expression or the time zone, as a sentence.
    pub fn new(expression: &str, timezone: &str) -> Result<Self, String> {
        let fields = expand::fields(expression)?;
        // All but the days and the month.
        let times = &fields[..fields.len().saturating_sub(3)];
        let is_wildcard = times.iter().any(|field| field.contains('*'));
        Ok(Self {
            text: expression.into(),
            expression: parse(expression)?,
            is_wildcard,
            zone: zone(timezone)?,
        })
    }

    /// Whether it runs at any minute or hour, rather than at certain times of the day: the distinction by
    /// which cron treats a clock that was set back.
    pub fn is_wildcard(&self) -> bool {
        self.is_wildcard
    }

    /// The first time after `after_ms`, both in milliseconds since 1970; `None` if the calendar has none.
    pub fn next(&self, after_ms: u64) -> Option<u64> {
        // A day that a zone leaves out (Samoa's 30th of December 2011) ends the search, which then begins
        // behind it.
        const HOURS_LATER: [u64; 3] = [0, 12, 24];
        const HOUR_MS: u64 = 60 * 60 * 1_000;
        let search = |hours| {
            let from = self.zoned(after_ms.checked_add(hours * HOUR_MS)?)?;
            self.expression.find_next_occurrence(&from, false).ok()
        };
        HOURS_LATER.into_iter().find_map(search).and_then(|next| milliseconds(&next))
    }

    /// The last times after `after_ms` and not after `until_ms`, in their order, and at most `limit` of them.
    pub fn between(&self, after_ms: u64, until_ms: u64, limit: usize) -> Vec<u64> {
        let mut times = Vec::new();
        let mut from = self.zoned(until_ms);
        while let Some(until) = from.take().filter(|_| times.len() < limit) {
            let found = self.expression.find_previous_occurrence(&until, times.is_empty()).ok();
            let time =
                found.as_ref().and_then(milliseconds).filter(|&time| time > after_ms && time <= until_ms);
            times.extend(time);
            from = found.filter(|_| time.is_some());
        }
        times.reverse();
        times
    }

    pub fn expression(&self) -> &str {
        &self.text
    }

    pub fn timezone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// A time as a clock in the schedule's time zone shows it, such as `2026-12-01T09:00:00+08:00`.
    pub fn show(&self, time_ms: u64) -> String {
        let shown = self.zoned(time_ms).map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
        shown.unwrap_or_else(|| format!("{time_ms} ms after 1970"))
    }

    fn zoned(&self, time_ms: u64) -> Option<Zoned> {
        let time = Timestamp::from_millisecond(i64::try_from(time_ms).ok()?).ok()?;
        Some(time.to_zoned(self.zone.clone()))
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{:?} in {}", self.expression(), self.timezone())
    }
}

fn milliseconds(time: &Zoned) -> Option<u64> {
    u64::try_from(time.timestamp().as_millisecond()).ok()
}

/// A time zone by its name, as the system's database has it, or, where that has none of this name, as the one
/// that is compiled in has it.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    let found = TimeZone::get(name).or_else(|_| jiff::tz::TimeZoneDatabase::bundled().get(name));
    found.map_err(|_| {
        let known: Vec<_> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
        let hint = match did_you_mean(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "a time zone is called such as \"Asia/Shanghai\" or \"UTC\"".to_owned(),
        };
        format!("there is no time zone \"{name}\"; {hint}")
    })
}

pub(super) fn parse(text: &str) -> Result<croner::Cron, String> {
    let fields = expand::fields(text)?.join(" ");
    let expression = parser().parse(&fields).map_err(|_| describe_problem(text))?;
    // The 29th of February comes within eight years of any moment, the 30th never does.
    let start = Zoned::new(Timestamp::UNIX_EPOCH, TimeZone::UTC);
    match expression.find_next_occurrence(&start, true) {
        Ok(_) => Ok(expression),
        Err(_) => Err(format!("no time ever fits \"{text}\"")),
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build()
}

/// The fields and their syntax.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0 to 59, such as \"*\", \"30\", \"0,30\" or \"*/10\""),
    ("minute", "0 to 59, such as \"*\", \"30\", \"0,30\" or \"*/10\""),
    ("hour", "0 to 23, such as \"*\", \"9\", \"8-18\" or \"*/2\""),
    (
        "day of the month",
        "1 to 31, such as \"*\", \"1,15\", \"L\" for the last or \"15W\" for the nearest weekday",
    ),
    ("month", "1 to 12 or jan to dec, such as \"*\", \"1-3\" or \"jan,jul\""),
    (
        "day of the week",
        "0 to 7 or sun to sat, such as \"*\", \"mon-fri\" or \"fri#2\" for the second Friday",
    ),
];

/// The sentence that names the wrong field, found by trying each field alone.
fn describe_problem(text: &str) -> String {
    let fields: Vec<_> = text.split_whitespace().collect();
    let names = match fields.len() {
        6 => &FIELDS[..],
        5 => &FIELDS[1..],
        count => {
            return format!(
                "\"{text}\" has {count} fields instead of 5: minute, hour, day of the month, month, day of the week, \
                 such as \"0 9 * * mon-fri\"; a sixth in front of them is the second"
            );
        }
    };
    for (index, (field, (name, expected))) in fields.iter().zip(names).enumerate() {
        let mut alone = vec!["*"; fields.len()];
        alone[index] = field;
        if expand::fields(&alone.join(" ")).is_ok_and(|fields| parser().parse(&fields.join(" ")).is_err()) {
            return format!("the {name} \"{field}\" of \"{text}\" is not made of {expected}");
        }
    }
    format!("\"{text}\" is no cron expression such as \"0 9 * * mon-fri\"")
}

#[cfg(test)]
mod tests;
