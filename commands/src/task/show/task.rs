//! The story of a task as people read it.

use framework::output::{Style, escape_control, escape_json};
use framework::prelude::*;
use framework::views::{AttemptInfo, State, TaskDetails};

use crate::facts::{print_fact, print_facts};
use crate::format::{format_millis, format_timestamp, style};

pub(super) fn print(story: &TaskDetails, output: &mut Output) {
    let task = &story.summary;
    let state = output.style(style(task.state)).on(task.state.name()).to_string();
    let texts = |texts: &[String]| (!texts.is_empty()).then(|| texts.join(", then "));
    let lasts = story.timeout_ms.map_or("for ever".to_owned(), |ms| format_millis(ms as f64));
    let attempts = format!("{} of {}, each at most {lasts}", task.attempts, story.max_attempts);
    print_fact("task", task.id, output);
    print_fact("state", state, output);
    print_facts(
        &[
            ("function", Some(task.function.clone())),
            ("arguments", Some(story.args.get().to_owned())),
            ("queue", Some(format!("{}, priority {}", task.queue, task.priority))),
            ("batch", story.batch.map(|batch| batch.to_string())),
            ("key", story.key.clone()),
            ("concurrency key", story.concurrency_key.clone()),
            ("then", texts(&story.then)),
            ("accepted", Some(format_timestamp(task.accepted_ms))),
            ("due", task.due_ms.map(format_timestamp)),
            ("expires", story.expires_ms.map(format_timestamp)),
            ("ended", task.ended_ms.map(format_timestamp)),
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

fn print_attempt(attempt: &AttemptInfo, output: &mut Output) {
    let AttemptInfo { number, started_ms, ran_ms, pid, error } = attempt;
    let heading = output.style(Style::Heading).on(format_args!("attempt {number}")).to_string();
    let lasted = match ran_ms {
        Some(ms) => format!("took {}", format_millis(*ms)),
        None => "the process died while it ran".to_owned(),
    };
    output.line(format_args!("\n{heading}  {}, {lasted}, in process {pid}", format_timestamp(*started_ms)));
    match error {
        Some(error) => output.line(format_args!("  {}", indented(error))),
        None => output.line("  done"),
    }
}

fn print_notes(story: &TaskDetails, output: &mut Output) {
    let heading = output.style(Style::Heading);
    if let Some(progress) = &story.notes.progress {
        let text = escape_control(&progress.text);
        let at = format_timestamp(progress.at_ms);
        output.line(format_args!("\n{}  {:.0}% {text} ({at})", heading.on("progress"), progress.percent));
    }
    if !story.notes.log.is_empty() {
        output.line(format_args!("\n{}", heading.on("log")));
        for line in &story.notes.log {
            let (at, attempt) = (format_timestamp(line.at_ms), line.attempt);
            output.line(format_args!("  {at}  attempt {attempt}  {}", escape_control(&line.text)));
        }
    }
}

fn print_end(story: &TaskDetails, output: &mut Output) {
    let heading = output.style(Style::Heading);
    match (&story.result, &story.summary.error) {
        (Some(result), _) => {
            output.line(format_args!("\n{}  {}", heading.on("result"), escape_json(result.get())))
        }
        (None, Some(error)) => output.line(format_args!("\n{}  {}", heading.on("error"), indented(error))),
        (None, None) if story.summary.state == State::Done => {
            output.line(format_args!("\n{}  null", heading.on("result")));
        }
        (None, None) => {}
    }
}

/// A text of several lines, each under the other.
fn indented(text: &str) -> String {
    text.lines().map(escape_control).collect::<Vec<_>>().join("\n  ")
}
