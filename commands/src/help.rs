//! `help NAME`: shows the help of a command.

mod markdown;
mod topic;

use framework::console::print_help;
use framework::prelude::*;

pub(crate) use self::topic::topic_names;
use self::topic::{print_topic, similar};

/// Show the help of a command, or of a topic
///
/// The topics are chapters of the manual: beanstalkd, configuration, console, deploying, exit-codes, faktory,
/// http, schedules, wire, workers.
#[derive(Args, Command)]
#[command(name = "help")]
struct Help {
    /// Name of the command, or an abbreviation, or of a topic
    #[arg(default_value = "help")]
    name: String,
}

impl Execute for Help {
    const RESERVED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let registry = Registry::running(app).context("there is no console")?;
        let entry = match registry.find(&self.name) {
            Ok(entry) => entry,
            Err(_) if print_topic(&self.name, output) => return Ok(()),
            Err(error) => return Err(error.exit().error(with_topic(&self.name, error.to_string()))),
        };
        print_help(app.program(), entry, output);
        Ok(())
    }
}

/// The error with the topic that was probably meant.
fn with_topic(name: &str, error: String) -> String {
    similar(name).map_or(error.clone(), |topic| format!("{error}. There is the topic \"{topic}\""))
}

#[cfg(test)]
mod tests {
    use framework::command::CommandMeta;

    use super::*;

    #[test]
    fn help_of_help_names_every_topic() {
        let help = Help::ENTRY.describe().get_long_about().unwrap().to_string();
        let (_, named) = help.split_once("manual: ").unwrap();
        let named: Vec<&str> =
            named.trim_end_matches('.').split([',', ' ', '\n']).filter(|name| !name.is_empty()).collect();
        assert_eq!(named, topic_names().collect::<Vec<_>>());
    }
}
