//! Questions on a terminal whose cursor can be moved.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use inquire::autocompletion::{Autocomplete, Replacement};
use inquire::error::{CustomUserError, InquireError};
use inquire::list_option::ListOption;
use inquire::ui::RenderConfig;
use inquire::{Confirm, MultiSelect, Password, Select, Text};

use super::terminal_guard::TerminalGuard;
use super::{InputError, Question, QuestionKind};
use crate::output::{Output, escape_control};

/// The names of files that are offered at most.
const FILES: usize = 100;

pub(super) fn confirm(output: &mut Output, question: &str, default: bool) -> Result<bool, InputError> {
    let question = escape_control(question);
    let _guard = TerminalGuard::begin();
    let prompt = Confirm::new(&question).with_default(default).with_render_config(begin(output));
    Ok(prompt.prompt()?)
}

/// The answer, which is empty if the default is meant; `typed` is what was answered before.
pub(super) fn text(output: &mut Output, question: &Question, typed: &str) -> Result<String, InputError> {
    let colors = begin(output);
    let _guard = TerminalGuard::begin();
    let shown = escape_control(question.text);
    if let QuestionKind::Secret(twice) = question.kind {
        let prompt = Password::new(&shown).with_render_config(colors);
        let prompt = prompt.with_custom_confirmation_message("Again:");
        let prompt = prompt.with_custom_confirmation_error_message("the two are not the same");
        return Ok(if twice { prompt } else { prompt.without_confirmation() }.prompt()?);
    }
    let mut prompt = Text::new(&shown).with_render_config(colors).with_initial_value(typed);
    if let Some(default) = question.default {
        prompt = prompt.with_default(default);
    }
    if question.kind == QuestionKind::Path {
        prompt = prompt.with_autocomplete(FileNames).with_help_message("the tabulator key completes");
    }
    Ok(prompt.prompt()?)
}

pub(super) fn choose(
    output: &mut Output,
    question: &str,
    choices: &[&str],
    default: Option<usize>,
) -> Result<usize, InputError> {
    let question = escape_control(question);
    let _guard = TerminalGuard::begin();
    let prompt = Select::new(&question, escaped(choices)).with_render_config(begin(output));
    let prompt = prompt.with_starting_cursor(default.unwrap_or(0));
    Ok(prompt.with_help_message("arrows move, enter takes, typing searches").raw_prompt()?.index)
}

pub(super) fn choose_many(
    output: &mut Output,
    question: &str,
    choices: &[&str],
    defaults: &[usize],
) -> Result<Vec<usize>, InputError> {
    let question = escape_control(question);
    let _guard = TerminalGuard::begin();
    let prompt = MultiSelect::new(&question, escaped(choices)).with_render_config(begin(output));
    let prompt = prompt.with_default(defaults);
    let help = "space marks, enter takes those marked, typing searches";
    let chosen: Vec<ListOption<Cow<str>>> = prompt.with_help_message(help).raw_prompt()?;
    Ok(chosen.into_iter().map(|choice| choice.index).collect())
}

/// Prepares the terminal, and returns the colours of a prompt.
fn begin(output: &mut Output) -> RenderConfig<'static> {
    output.redraw("");
    output.flush();
    if output.has_colored_notes() { RenderConfig::default_colored() } else { RenderConfig::empty() }
}

fn escaped<'a>(choices: &[&'a str]) -> Vec<Cow<'a, str>> {
    choices.iter().map(|choice| escape_control(choice)).collect()
}

impl From<InquireError> for InputError {
    fn from(error: InquireError) -> Self {
        match error {
            InquireError::OperationCanceled | InquireError::OperationInterrupted => Self::Interrupted,
            InquireError::IO(error) => Self::Unreadable(error),
            other => Self::Unreadable(std::io::Error::other(other.to_string())),
        }
    }
}

/// The names of files that begin as what was typed.
#[derive(Clone)]
struct FileNames;

impl Autocomplete for FileNames {
    fn get_suggestions(&mut self, input: &str) -> Result<Vec<String>, CustomUserError> {
        let (folder, begin) = input.rsplit_once('/').map_or(("", input), |(folder, begin)| (folder, begin));
        let folder = if input.contains('/') { format!("{folder}/") } else { String::new() };
        let place = if folder.is_empty() { Path::new(".") } else { Path::new(&folder) };
        let Ok(entries) = fs::read_dir(place) else { return Ok(Vec::new()) };
        let named = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| name.starts_with(begin))?;
            let slash = if entry.path().is_dir() { "/" } else { "" };
            // A name that a terminal would obey cannot be typed either.
            (escape_control(&name) == name).then(|| format!("{folder}{name}{slash}"))
        });
        let mut names: Vec<String> = named.take(FILES).collect();
        names.sort();
        Ok(names)
    }

    fn get_completion(
        &mut self,
        input: &str,
        highlighted: Option<String>,
    ) -> Result<Replacement, CustomUserError> {
        let mut names = self.get_suggestions(input)?.into_iter();
        Ok(highlighted.or_else(|| names.next()))
    }
}
