//! `doctor`: what is wrong on this machine and in this project, and what to do.

mod checks;
mod disk;

use framework::output::Style;
use framework::prelude::*;
use serde::Serialize;

/// Say what is wrong, and what to do
///
/// Looks at the settings, the commands, the folder runtime/, its disk, the port, the limits of this process
/// and the clock. Nothing is changed. The exit code is 1 if something has to be done before a server can
/// start.
#[derive(Args, Command)]
#[command(name = "doctor")]
struct Doctor {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// The result of one look.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    state: Health,
    /// What was found.
    found: String,
    /// What to do; empty if nothing is.
    advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Warning,
    Error,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: Health::Ok, found: found.into(), advice: String::new() }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, state: Health::Warning, found: found.into(), advice: advice.into() }
    }

    fn error(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: Health::Error, ..Self::warning(check, found, advice) }
    }
}

impl Execute for Doctor {
    const RESERVED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let findings = checks::run(app).await;
        if self.json {
            output.json(&findings)?;
        } else {
            findings.iter().for_each(|finding| print(finding, output));
        }
        let errors = findings.iter().filter(|finding| finding.state == Health::Error).count();
        match errors {
            0 => Ok(()),
            _ if self.json => Err(Exit::Failed.silent()),
            1 => Err(Exit::Failed.error("one thing has to be done, as said above")),
            _ => Err(Exit::Failed.error(format!("{errors} things have to be done, as said above"))),
        }
    }
}

fn print(finding: &Finding, output: &mut Output) {
    let (style, label) = match finding.state {
        Health::Ok => (Style::Good, "ok"),
        Health::Warning => (Style::Warning, "warning"),
        Health::Error => (Style::Bad, "error"),
    };
    let style = output.style(style);
    let advice = if finding.advice.is_empty() { String::new() } else { format!("; {}", finding.advice) };
    let text = format!("{style}{label}{style:#}: {}{advice}", finding.found.replace('\n', " "));
    output.definitions_at(CHECK_WIDTH, &[(finding.check.to_owned(), text)]);
}

/// The width of the longest name of a check.
const CHECK_WIDTH: usize = 11;
