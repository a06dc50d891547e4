//! Rewrites expressions that other crons understand too: nicknames, and ranges that wrap around.

/// The fields, of which the first is left out where there are five: name, first and last number, names of
/// numbers.
const FIELDS: [(&str, u16, u16, &[&str]); 6] = [
    ("second", 0, 59, &[]),
    ("minute", 0, 59, &[]),
    ("hour", 0, 23, &[]),
    ("day of the month", 1, 31, &[]),
    ("month", 1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    ("day of the week", 0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The fields of an expression, which contain neither nicknames nor ranges whose end is before their begin.
///
/// # Errors
/// The problem with a nickname or a step, as a sentence.
pub(super) fn fields(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    if text.starts_with('@') {
        let known = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let names = NICKNAMES.map(|(name, _)| name).join(", ");
        let (_, fields) = known.ok_or_else(|| format!("\"{text}\" is none of {names}"))?;
        return Ok(fields.split(' ').map(str::to_owned).collect());
    }
    let fields: Vec<_> = text.split_whitespace().collect();
    // The parser refuses another number of fields.
    if !matches!(fields.len(), 5 | 6) {
        return Ok(fields.into_iter().map(str::to_owned).collect());
    }
    let kinds = &FIELDS[FIELDS.len() - fields.len()..];
    fields
        .iter()
        .zip(kinds)
        .map(|(field, kind)| expand(field, kind))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the {error} of \"{text}\""))
}

type Kind = (&'static str, u16, u16, &'static [&'static str]);

/// Rewrites the parts of a field.
///
/// # Errors
/// The problem as the begin of a sentence that ends with the expression.
fn expand(field: &str, kind: &Kind) -> Result<String, String> {
    // With it, both the day of the month and the day of the week have to be right.
    let (both, parts) = field.strip_prefix('+').map_or(("", field), |parts| ("+", parts));
    let parts = parts.split(',').map(|part| expand_part(part, kind)).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("{both}{}", parts.join(",")))
}

fn expand_part(part: &str, kind: &Kind) -> Result<String, String> {
    let (name, first, last, _) = *kind;
    let count = last - first + 1;
    let (range, step) = part.split_once('/').map_or((part, "1"), |(range, step)| (range, step));
    let Ok(step) = step.parse::<u32>() else { return Ok(part.to_owned()) };
    if step > u32::from(count) {
        return Err(format!("{name} \"{part}\" has a step of more than {count}, in the field \"{part}\""));
    }
    let ends =
        range.split_once('-').and_then(|(begin, end)| Some((number(begin, kind)?, number(end, kind)?)));
    let Some((begin, end)) = ends.filter(|(begin, end)| begin > end) else { return Ok(part.to_owned()) };
    let values = (begin..=end + count).step_by(step.max(1) as usize);
    Ok(values.map(|value| (first + (value - first) % count).to_string()).collect::<Vec<_>>().join(","))
}

/// A number of a field, or the one that a name stands for; `None` for what is neither, such as `L`.
fn number(text: &str, (_, first, last, names): &Kind) -> Option<u16> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    // The week has two names for Sunday: 0 and 7.
    let is_weekday = names.len() == 7;
    let number =
        named.and_then(|index| u16::try_from(index).ok()?.checked_add(*first)).or_else(|| text.parse().ok());
    number.filter(|number| (*first..=*last).contains(number) || is_weekday && *number == 7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_range_that_wraps_around_are_its_numbers() {
        for (text, expected) in [
            ("0 9 * * fri-mon", "0 9 * * 5,6,0,1"),
            ("0 9 * * fri-sun", "0 9 * * 5,6,0"),
            ("0 9 * * mon-7", "0 9 * * mon-7"),
            ("0 22-2/2 * * *", "0 22,0,2 * * *"),
            ("50-10/5 * * nov-feb +sat-sun", "50,55,0,5,10 * * 11,12,1,2 +6,0"),
            ("0 0 28-3 * *", "0 0 28,29,30,31,1,2,3 * *"),
            ("30 59-1 * * * *", "30 59,0,1 * * * *"),
            ("0 0 L,15W * fri#2", "0 0 L,15W * fri#2"),
            ("@Midnight", "0 0 * * *"),
        ] {
            assert_eq!(fields(text).unwrap().join(" "), expected, "{text}");
        }
    }

    #[test]
    fn fields_with_a_step_of_more_than_there_are_numbers_are_refused() {
        for text in ["*/61 * * * *", "0 */25 * * *", "0 0 */32 * *", "0 0 * */13 *", "0 0 * * */8"] {
            let error = fields(text).unwrap_err();
            assert!(error.contains("a step of more than") && error.contains(text), "{error}");
        }
        assert!(fields("*/60 */24 */31 */12 */7").is_ok());
        assert!(fields("@reboot").unwrap_err().contains("@midnight"));
    }
}
