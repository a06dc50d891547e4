//! `config:show`: what is in force, and who says so.

use std::collections::BTreeMap;

use framework::config::{Problems, Provenance, Setting, did_you_mean};
use framework::output::Style;
use framework::prelude::*;
use serde_json::{Value, json};

/// Show the settings that are in force, and where each comes from
///
/// Secrets are hidden. Whatever is wrong with a file or a variable is told, and the exit code is 1.
#[derive(Args, Command)]
#[command(name = "config:show")]
struct Show {
    /// Only this section, such as `server`
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
        let names: Vec<_> = all.iter().map(|explained| explained.section).collect();
        if !names.contains(&wanted.as_str()) {
            let hint = match did_you_mean(wanted, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are: {}", names.join(", ")),
            };
            return Err(Exit::Usage.error(format!("there is no section \"{wanted}\"; {hint}")));
        }
        Ok(all.into_iter().filter(|explained| explained.section == wanted).collect())
    }
}

fn print(sections: &[(&str, Vec<Setting>)], output: &mut Output) {
    let (heading, name, muted) =
        (output.style(Style::Heading), output.style(Style::Name), output.style(Style::Muted));
    for (section, settings) in sections {
        let key_width = settings.iter().map(|setting| setting.key.len()).max().unwrap_or(0);
        let values: Vec<_> = settings.iter().map(|setting| shown(&setting.value)).collect();
        let value_width = values.iter().map(|value| value.chars().count()).max().unwrap_or(0).min(40);
        output.line(heading.on(section));
        for (Setting { key, origin, .. }, value) in settings.iter().zip(&values) {
            output.line(format_args!(
                "  {}  {value:<value_width$}  {}",
                name.on(format_args!("{key:<key_width$}")),
                muted.on(origin)
            ));
        }
    }
}

/// As in TOML, which has no word for a setting that is not set.
fn shown(value: &Value) -> String {
    if value.is_null() { "none".to_owned() } else { value.to_string() }
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
