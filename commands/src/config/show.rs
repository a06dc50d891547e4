//! `config:show`: the effective settings and their origins.

use std::collections::BTreeMap;

use framework::config::{Problems, Provenance, Setting, did_you_mean};
use framework::output::{Style, escape_json};
use framework::prelude::*;
use serde_json::{Value, json};

/// Show the effective settings and the origin of each
///
/// Secrets are hidden. Problems of a file or a variable are listed, and the exit code is 1.
#[derive(Args, Command)]
#[command(name = "config:show")]
struct Show {
    /// Show only this section, such as server
    section: Option<String>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Execute for Show {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let config = app.config()?;
        let mut problems = config.strays();
        let mut readable = Vec::new();
        for Provenance { section, settings } in self.select(config.explain())? {
            match settings {
                Ok(settings) => readable.push((section, settings)),
                Err(more) => problems.extend(more),
            }
        }
        if self.json {
            output.json(&as_json(&readable, &problems))?;
        } else {
            print(&readable, output);
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
    }
}

impl Show {
    fn select(&self, all: Vec<Provenance>) -> Result<Vec<Provenance>> {
        let Some(wanted) = &self.section else { return Ok(all) };
        let names: Vec<_> = all.iter().map(|provenance| provenance.section).collect();
        if !names.contains(&wanted.as_str()) {
            let hint = match did_you_mean(wanted, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("the sections are: {}", names.join(", ")),
            };
            return Err(Exit::Usage.error(format!("unknown section \"{wanted}\"; {hint}")));
        }
        Ok(all.into_iter().filter(|provenance| provenance.section == wanted).collect())
    }
}

fn print(sections: &[(&str, Vec<Setting>)], output: &mut Output) {
    let (heading, name, muted) =
        (output.style(Style::Heading), output.style(Style::Name), output.style(Style::Muted));
    for (section, settings) in sections {
        let key_width = settings.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
        let values: Vec<_> = settings.iter().map(|setting| format_value(&setting.value)).collect();
        let value_width = values.iter().map(|value| value.chars().count()).max().unwrap_or(0).min(40);
        output.line(format_args!("{heading}{section}{heading:#}"));
        for (Setting { key, origin, .. }, value) in settings.iter().zip(&values) {
            output.line(format_args!(
                "  {name}{key:<key_width$}{name:#}  {value:<value_width$}  {muted}{origin}{muted:#}"
            ));
        }
    }
}

/// Formats a value as in TOML; `none` if it is not set.
fn format_value(value: &Value) -> String {
    if value.is_null() { "none".to_owned() } else { escape_json(&value.to_string()).into_owned() }
}

fn as_json(sections: &[(&str, Vec<Setting>)], problems: &Problems) -> Value {
    let describe = |setting: &Setting| json!({ "value": setting.value, "from": setting.origin.to_string() });
    let sections: BTreeMap<_, BTreeMap<_, _>> = sections
        .iter()
        .map(|(section, settings)| {
            (section, settings.iter().map(|setting| (&setting.key, describe(setting))).collect())
        })
        .collect();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    json!({ "sections": sections, "problems": problems })
}
