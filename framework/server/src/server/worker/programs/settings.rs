//! The section `workers`: the settings of config/workers.toml.

use std::collections::BTreeMap;
use std::path::PathBuf;

use framework_console::config::{Invalid, Secret, Section, Validator};
use serde::{Deserialize, Serialize};

use crate::processes::CommandLine;

/// More processes than this are a mistake.
const PROCESSES_MAX: u32 = 1_000;
/// The longest name of a program, in bytes.
const NAME_MAX: usize = 128;

/// The programs that the server starts as its workers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProgramSettings {
    pub(crate) workers: Vec<WorkerProgram>,
}

/// One `[[workers]]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WorkerProgram {
    /// Its name in the log and in reports; by default the command.
    pub(crate) name: Option<String>,
    pub(crate) command: CommandLine,
    /// How many processes of it run.
    pub(crate) count: u32,
    /// The directory that it runs in, relative to the project's root.
    pub(crate) directory: PathBuf,
    /// Variables beside those of the server.
    pub(crate) environment: BTreeMap<String, Secret>,
}

impl Default for WorkerProgram {
    /// One process in the project's root; the command has no default.
    fn default() -> Self {
        Self {
            name: None,
            command: CommandLine::default(),
            count: 1,
            directory: PathBuf::new(),
            environment: BTreeMap::new(),
        }
    }
}

impl WorkerProgram {
    pub(super) fn shown_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.command.to_string().chars().take(NAME_MAX).collect())
    }

    /// The first problem: the rest of a sentence that begins with the name of the list.
    fn problem(&self) -> Option<String> {
        let is_variable = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
        let is_text = |text: &Secret| !text.reveal().contains('\0');
        let mut variables = self.environment.iter();
        match () {
            () if self.command.is_empty() => {
                Some("must have a `command`, such as \"php worker.php\"".to_owned())
            }
            () if !(1..=PROCESSES_MAX).contains(&self.count) => {
                Some(format!("must have a `count` from 1 to {PROCESSES_MAX}, not {}", self.count))
            }
            () if self.name.as_ref().is_some_and(|name| !(1..=NAME_MAX).contains(&name.len())) => {
                Some(format!("must have a `name` of 1 to {NAME_MAX} bytes, or none"))
            }
            () => variables.find(|(name, value)| !is_variable(name) || !is_text(value)).map(|(name, _)| {
                format!("has no variable {name:?} in its `environment`: no system knows it")
            }),
        }
    }
}

impl Section for ProgramSettings {
    const NAME: &'static str = "workers";

    fn check(&self) -> Result<(), Invalid> {
        let sum = self.workers.iter().fold(0_u32, |sum, program| sum.saturating_add(program.count));
        let mut checks = Validator::new().that("workers", sum <= PROCESSES_MAX, || {
            format!("must be at most {PROCESSES_MAX} processes all together, not {sum}")
        });
        for (index, program) in self.workers.iter().enumerate() {
            if let Some(problem) = program.problem() {
                checks = checks.that("workers", false, || format!("number {}: {problem}", index + 1));
            }
        }
        checks.done()
    }
}

framework_console::section!(ProgramSettings);

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        let settings: ProgramSettings = toml::from_str(text).unwrap();
        settings.check().map_err(|invalid| invalid.to_string()).err().unwrap_or_default()
    }

    #[test]
    fn program_settings_say_which_table_is_wrong() {
        for (text, says) in [
            ("[[workers]]", "number 1: must have a `command`"),
            ("[[workers]]\ncommand = \"a\"\n[[workers]]\ncount = 2", "number 2: must have a `command`"),
            ("[[workers]]\ncommand = \"a\"\ncount = 0", "`count` from 1 to 1000, not 0"),
            ("[[workers]]\ncommand = \"a\"\nname = \"\"", "`name`"),
            ("[[workers]]\ncommand = \"a\"\nenvironment = { \"a=b\" = \"c\" }", "\"a=b\""),
            (
                "[[workers]]\ncommand = \"a\"\ncount = 900\n[[workers]]\ncommand = \"b\"\ncount = 200",
                "not 1100",
            ),
        ] {
            assert!(problems(text).contains(says), "{text}: {}", problems(text));
        }
        assert_eq!(problems("[[workers]]\ncommand = \"php worker.php\"\ncount = 4"), "");
    }
}
