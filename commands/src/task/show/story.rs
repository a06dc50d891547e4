//! The story of a task as people read it.

use framework::output::Style;
use framework::prelude::*;
use framework::store::{AttemptStory, State, Story};

use super::facts;
use crate::people::{shown, span, style, time};

pub(super) fn print(story: &Story, output: &mut Output) {
    let task = &story.summary;
    let state = output.style(style(task.state)).on(task.state.name()).to_string();
    let texts = |texts: &[String]| (!texts.is_empty()).then(|| texts.join(", then "));
    let lasts = story.timeout_ms.map_or("for ever".to_owned(), |ms| span(ms as f64));
    let attempts = format!("{} of {}, each at most {lasts}", task.attempts, story.attempts_max);
    facts(
        &[
            ("task", Some(task.id.to_string())),
            ("state", Some(state)),
            ("function", Some(task.function.clone())),
            ("arguments", Some(shown(story.args.get()))),
            ("queue", Some(format!("{}, priority {}", task.queue, task.priority))),
            ("batch", story.batch.map(|batch| batch.to_string())),
            ("key", story.key.as_deref().map(shown)),
            ("concurrency key", story.concurrency_key.as_deref().map(shown)),
            ("then", texts(&story.then)),
            ("accepted", Some(time(task.accepted_ms))),
            ("due", task.due_ms.map(time)),
            ("expires", story.expires_ms.map(time)),
            ("ended", task.ended_ms.map(time)),
            ("attempts", Some(attempts)),
            (
                "crashes",
                (story.crashes > 0).then(|| format!("the process died in {} of them", story.crashes)),
            ),
        ],
        output,
    );
    for attempt in &story.history {
        print_attempt(attempt, output);
    }
    print_notes(story, output);
    print_end(story, output);
}

fn print_attempt(attempt: &AttemptStory, output: &mut Output) {
    let AttemptStory { number, started_ms, ran_ms, pid, error } = attempt;
    let heading = output.style(Style::Heading).on(format_args!("attempt {number}")).to_string();
    let lasted = match ran_ms {
        Some(ms) => format!("took {}", span(*ms)),
        None => "the process died while it ran".to_owned(),
    };
    output.line(format_args!("\n{heading}  {}, {lasted}, in process {pid}", time(*started_ms)));
    match error {
        Some(error) => output.line(format_args!("  {}", indented(error))),
        None => output.line("  done"),
    }
}

fn print_notes(story: &Story, output: &mut Output) {
    let heading = output.style(Style::Heading);
    if let Some(progress) = &story.notes.progress {
        let text = shown(&progress.text);
        let at = time(progress.at_ms);
        output.line(format_args!("\n{}  {:.0}% {text} ({at})", heading.on("progress"), progress.percent));
    }
    if !story.notes.log.is_empty() {
        output.line(format_args!("\n{}", heading.on("log")));
        for line in &story.notes.log {
            let (at, attempt) = (time(line.at_ms), line.attempt);
            output.line(format_args!("  {at}  attempt {attempt}  {}", shown(&line.text)));
        }
    }
}

fn print_end(story: &Story, output: &mut Output) {
    let heading = output.style(Style::Heading);
    match (&story.result, &story.summary.error) {
        (Some(result), _) => output.line(format_args!("\n{}  {}", heading.on("result"), shown(result.get()))),
        (None, Some(error)) => output.line(format_args!("\n{}  {}", heading.on("error"), indented(error))),
        (None, None) if story.summary.state == State::Done => {
            output.line(format_args!("\n{}  null", heading.on("result")));
        }
        (None, None) => {}
    }
}

/// A text of several lines, each under the other.
fn indented(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n  ")
}
