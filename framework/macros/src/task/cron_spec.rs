//! The options `cron`, `timezone`, `missed` and `overlap` in `#[task(..)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Error, Ident, LitStr, Result};

/// The cron settings of a task; `None` is the default.
#[derive(Default)]
pub(super) struct CronSpec {
    cron: Option<LitStr>,
    timezone: Option<LitStr>,
    missed: Option<Ident>,
    overlap: Option<Ident>,
}

/// The fields of a cron expression: name, range of numbers, and names of values.
const FIELDS: [(&str, std::ops::RangeInclusive<u32>, &str); 6] = [
    ("second", 0..=59, ""),
    ("minute", 0..=59, ""),
    ("hour", 0..=23, ""),
    ("day of the month", 1..=31, ""),
    ("month", 1..=12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    ("day of the week", 0..=7, "sun mon tue wed thu fri sat"),
];
const NICKNAMES: [&str; 7] =
    ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"];

impl CronSpec {
    /// Sets one of the options; `false` for another name.
    pub(super) fn set(&mut self, name: &str, option: &ParseNestedMeta) -> Result<bool> {
        match name {
            "cron" => self.cron = Some(cron(option)?),
            "timezone" => self.timezone = Some(timezone(option)?),
            "missed" => {
                let rule = "missed must be \"skip\", \"once\" or \"all\": which runs are made up for after a downtime";
                self.missed = Some(one_of(option, &["skip", "once", "all"], rule)?);
            }
            "overlap" => {
                let rule = "overlap must be \"allow\" or \"skip\": whether a run starts while the previous one has not ended";
                self.overlap = Some(one_of(option, &["allow", "skip"], rule)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The field of `TaskOptions`, if there is a `cron`.
    ///
    /// # Errors
    /// When one of the other options is set without it.
    pub(super) fn tokens(&self, task: &Ident) -> Result<Option<TokenStream>> {
        let Some(cron) = &self.cron else {
            let others = [
                self.timezone.as_ref().map(|_| "timezone"),
                self.missed.as_ref().map(|_| "missed"),
                self.overlap.as_ref().map(|_| "overlap"),
            ];
            return match others.into_iter().flatten().next() {
                Some(name) => {
                    let message = format!("{name} requires a cron, such as cron = \"0 9 * * mon-fri\"");
                    Err(Error::new(task.span(), message))
                }
                None => Ok(None),
            };
        };
        let timezone = self.timezone.as_ref().map(|timezone| quote!(timezone: #timezone,));
        let missed =
            self.missed.as_ref().map(|missed| quote!(missed: ::framework::task::MissedRunPolicy::#missed,));
        let overlap =
            self.overlap.as_ref().map(|overlap| quote!(overlap: ::framework::task::OverlapPolicy::#overlap,));
        Ok(Some(quote! {
            cron: ::core::option::Option::Some(::framework::task::CronSpec {
                #timezone #missed #overlap ..::framework::task::CronSpec::of(#cron)
            }),
        }))
    }
}

/// Checks the number of fields and their values; the rest is checked when the server starts.
fn cron(option: &ParseNestedMeta) -> Result<LitStr> {
    let literal: LitStr = option.value()?.parse()?;
    let text = literal.value();
    let wrong = |message: String| Err(Error::new(literal.span(), message));
    if NICKNAMES.contains(&text.to_ascii_lowercase().as_str()) {
        return Ok(literal);
    }
    let fields: Vec<_> = text.split_whitespace().collect();
    if !matches!(fields.len(), 5 | 6) {
        return wrong(format!(
            "\"{text}\" has {} fields instead of 5: minute, hour, day of the month, month, day of the week, such as \
             \"0 9 * * mon-fri\"; with 6 fields, the first one is the second",
            fields.len()
        ));
    }
    for (field, (name, numbers, names)) in fields.iter().zip(&FIELDS[FIELDS.len() - fields.len()..]) {
        if !is_valid_field(field, numbers, names) {
            let (first, last) = (numbers.start(), numbers.end());
            return wrong(format!("the {name} \"{field}\" of \"{text}\" must be within {first} to {last}"));
        }
    }
    Ok(literal)
}

/// Whether the numbers, names and steps of a field are valid; counts (`#2`) are ignored.
fn is_valid_field(field: &str, numbers: &std::ops::RangeInclusive<u32>, names: &str) -> bool {
    let count = numbers.end() - numbers.start() + 1;
    field.split(',').all(|part| {
        let step = part.split_once('/').map(|(_, step)| step.parse::<u32>());
        if step.is_some_and(|step| step.is_ok_and(|step| step > count)) {
            return false;
        }
        let part = part.split(['/', '#']).next().unwrap_or_default().trim_start_matches('+');
        part.split('-').all(|end| {
            let end = end.to_ascii_lowercase();
            let number = end.trim_end_matches(['l', 'w']).parse();
            matches!(end.as_str(), "*" | "?" | "l" | "lw")
                || number.is_ok_and(|number| numbers.contains(&number))
                || names
                    .split(' ')
                    .any(|name| !name.is_empty() && (end == name || end.strip_suffix('l') == Some(name)))
        })
    })
}

fn timezone(option: &ParseNestedMeta) -> Result<LitStr> {
    let literal: LitStr = option.value()?.parse()?;
    let text = literal.value();
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    if !text.is_empty() && text.chars().all(good) {
        return Ok(literal);
    }
    Err(Error::new(
        literal.span(),
        format!("\"{text}\" is not a time zone such as \"Asia/Shanghai\" or \"UTC\""),
    ))
}

/// The variant of an enum whose name in lower case is the value of the option.
fn one_of(option: &ParseNestedMeta, known: &[&str], rule: &str) -> Result<Ident> {
    let literal: LitStr = option.value()?.parse().map_err(|error| Error::new(error.span(), rule))?;
    let text = literal.value();
    if !known.contains(&text.as_str()) {
        return Err(Error::new(literal.span(), rule));
    }
    let (first, rest) = text.split_at(1);
    Ok(Ident::new(&format!("{}{rest}", first.to_uppercase()), literal.span()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_accepts_its_numbers_and_names() {
        let fits = |index: usize, field| {
            let (_, numbers, names) = &FIELDS[index];
            is_valid_field(field, numbers, names)
        };
        for good in ["*", "0,30", "*/10", "5-15/3", "59"] {
            assert!(fits(1, good), "{good}");
        }
        for good in ["L", "15W", "LW", "1,15", "?"] {
            assert!(fits(3, good), "{good}");
        }
        assert!(
            fits(4, "jan,JUL-dec")
                && fits(5, "mon-fri")
                && fits(5, "+fri#2")
                && fits(5, "5L")
                && fits(5, "7")
        );
        assert!(fits(5, "fri-mon") && fits(1, "*/60") && !fits(1, "*/61") && !fits(2, "0-23/25"));
        assert!(!fits(1, "60") && !fits(3, "0") && !fits(4, "mon") && !fits(5, "mon-fry") && !fits(2, ""));
    }
}
