//! Prints the details of a task.

use framework::output::{Style, escape_control, escape_json};
use framework::prelude::*;
use framework::views::{AttemptInfo, State, TaskDetails};

use crate::facts::{print_fact, print_facts};
use crate::format::{format_millis, format_timestamp, state_style};

pub(super) fn print(details: &TaskDetails, output: &mut Output) {
    let task = &details.summary;
    let style = output.style(state_style(task.state));
    let state = format!("{style}{}{style:#}", task.state.name());
    let texts = |texts: &[String]| (!texts.is_empty()).then(|| texts.join(", then "));
    let timeout = details
        .timeout_ms
        .map_or("no timeout".to_owned(), |ms| format!("timeout {}", format_millis(ms as f64)));
    let most = details.max_attempts;
    let attempts = match task.attempts {
        // A crash is followed by another attempt, also where none may fail.
        attempts if attempts > most => format!("{attempts}, of which {most} may fail, {timeout}"),
        attempts => format!("{attempts} of {most}, {timeout}"),
    };
    print_fact("task", task.id, output);
    print_fact("state", state, output);
    print_facts(
        &[
            ("function", Some(task.function.clone())),
            ("arguments", Some(details.args.get().to_owned())),
            ("queue", Some(format!("{}, priority {}", task.queue, task.priority))),
            ("batch", details.batch.map(|batch| batch.to_string())),
            ("key", details.key.clone()),
            ("concurrency key", details.concurrency_key.clone()),
            ("tags", Some(task.tags.to_string()).filter(|tags| !tags.is_empty())),
            ("then", texts(&details.then)),
            ("accepted", Some(format_timestamp(task.accepted_ms))),
            ("due", task.due_ms.map(format_timestamp)),
            ("expires", details.expires_ms.map(format_timestamp)),
            ("ended", task.ended_ms.map(format_timestamp)),
            ("waits for", task.parked.then(|| "somebody who runs its function".to_owned())),
            ("attempts", Some(attempts)),
            (
                "crashes",
                (details.crashes > 0).then(|| format!("the process died in {} of them", details.crashes)),
            ),
        ],
        output,
    );
    let mut last = 0;
    for attempt in &details.history {
        if attempt.number > last + 1 {
            let (from, to) = (last + 1, attempt.number - 1);
            output.line(format_args!("\nattempts {from} to {to} are not kept"));
        }
        last = attempt.number;
        print_attempt(attempt, output);
    }
    print_progress(details, output);
    print_end(details, output);
}

fn print_attempt(attempt: &AttemptInfo, output: &mut Output) {
    let AttemptInfo { number, started_ms, ran_ms, pid, worker, error } = attempt;
    let heading = output.style(Style::Heading);
    let duration = match ran_ms {
        Some(ms) => format!("took {}", format_millis(*ms)),
        None => "the process died while it ran".to_owned(),
    };
    let started = format_timestamp(*started_ms);
    let place = match worker {
        Some(worker) => format!("by the worker {}", escape_control(worker)),
        None => format!("in process {pid}"),
    };
    output.line(format_args!("\n{heading}attempt {number}{heading:#}  {started}, {duration}, {place}"));
    match error {
        Some(error) => output.line(format_args!("  {}", indented(error))),
        None => output.line("  done"),
    }
}

fn print_progress(details: &TaskDetails, output: &mut Output) {
    let heading = output.style(Style::Heading);
    if let Some(progress) = &details.notes.progress {
        let text = escape_control(&progress.text);
        let at = format_timestamp(progress.at_ms);
        output.line(format_args!("\n{heading}progress{heading:#}  {:.0}% {text} ({at})", progress.percent));
    }
    if !details.notes.log.is_empty() {
        output.line(format_args!("\n{heading}log{heading:#}"));
        for line in &details.notes.log {
            let (at, attempt) = (format_timestamp(line.at_ms), line.attempt);
            output.line(format_args!("  {at}  attempt {attempt}  {}", escape_control(&line.text)));
        }
    }
}

fn print_end(details: &TaskDetails, output: &mut Output) {
    let heading = output.style(Style::Heading);
    match (&details.result, &details.summary.error) {
        (Some(result), _) => {
            output.line(format_args!("\n{heading}result{heading:#}  {}", escape_json(result.get())))
        }
        (None, Some(error)) => output.line(format_args!("\n{heading}error{heading:#}  {}", indented(error))),
        (None, None) if details.summary.state == State::Done => {
            output.line(format_args!("\n{heading}result{heading:#}  null"));
        }
        (None, None) => {}
    }
}

/// A text of several lines, indented and escaped.
fn indented(text: &str) -> String {
    text.lines().map(escape_control).collect::<Vec<_>>().join("\n  ")
}
