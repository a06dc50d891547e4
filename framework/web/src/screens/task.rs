//! One task: its attempts on a line of time, what it was given and has returned, its log, and how to send it
//! again.

use framework_protocol::RequestError;
use framework_protocol::views::{State, TaskDetails};
use maud::{Markup, html};
use serde_json::Value;

use super::id;
use crate::actions::button;
use crate::format::{self, short_span};
use crate::json_view::{cut, is_hidden, json, visible};
use crate::layout::{Screen, Section};
use crate::task_parts::{function_link, queue_link, state};
use crate::text::Texts;
use crate::visit::{Visit, encode};

/// The characters of an error that are shown.
const ERROR_MAX: usize = 8_000;
/// Longer arguments are not part of the commands that are to be copied.
const COPIED_MAX: usize = 8_000;

pub(super) async fn show(visit: &Visit, number: &str) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let task: TaskDetails = visit.call("show", vec![("task", Value::from(id(number)?))]).await?;
    let body = html! {
        (head(visit, &task))
        @if let Some(progress) = &task.notes.progress {
            section.card {
                h2 { (texts.progress) " " span.faint { (format!("{:.0}%", progress.percent)) } }
                progress max="100" value=(format!("{:.1}", progress.percent)) {}
                p { (cut(&progress.text, ERROR_MAX)) " " span.faint { (format::moment(progress.at_ms)) } }
            }
        }
        @if let Some(error) = &task.summary.error {
            section.card.bad { h2 { (texts.error) } pre.code { (cut(error, ERROR_MAX)) } }
        }
        section.card { h2 { (texts.timeline) } (timeline(&task, texts)) }
        div.columns {
            section.card { h2 { (texts.arguments) } (json(task.args.get(), texts)) }
            @if let Some(result) = &task.result {
                section.card { h2 { (texts.result) } (json(result.get(), texts)) }
            }
        }
        @if !task.notes.log.is_empty() { section.card { h2 { (texts.log) } (log(&task)) } }
        section.card { h2 { (texts.send_again) } (commands(&task, texts)) }
    };
    let title = format!("{} {}", texts.task, task.summary.id);
    Ok(Screen { title, section: Section::Tasks, body })
}

fn head(visit: &Visit, task: &TaskDetails) -> Markup {
    let (texts, summary) = (visit.texts, &task.summary);
    let number = summary.id.to_string();
    let on = [("task", number.as_str())];
    let attempts = format!("{} / {}", summary.attempts, task.max_attempts);
    html! {
        div.task-head {
            (state(summary.state, summary.parked, texts))
            span.actions {
                @if summary.state.is_terminal() {
                    @if summary.state != State::Done { (button(visit, "retry_task", &on)) }
                    (button(visit, "forget_task", &on))
                } @else { (button(visit, "cancel_task", &on)) }
            }
        }
        dl.facts {
            div { dt { (texts.function) } dd { (function_link(&summary.function)) } }
            div { dt { (texts.queue) } dd { (queue_link(&summary.queue)) } }
            div { dt { (texts.attempts) } dd { (attempts) } }
            div { dt { (texts.priority) } dd { (summary.priority) } }
            div { dt { (texts.accepted_at) } dd { (format::moment(summary.accepted_ms)) } }
            @if let Some(due) = summary.due_ms { div { dt { (texts.due) } dd { (format::moment(due)) } } }
            @if let Some(ended) = summary.ended_ms { div { dt { (texts.ended_at) } dd { (format::moment(ended)) } } }
            @if let Some(expires) = task.expires_ms { div { dt { (texts.expires) } dd { (format::moment(expires)) } } }
            @if let Some(timeout) = task.timeout_ms { div { dt { (texts.timeout) } dd { (format::span(timeout)) } } }
            @if let Some(batch) = task.batch { div { dt { (texts.batch) } dd { a href=(format!("batches/{batch}")) { (batch) } } } }
            @if let Some(key) = &task.key { div { dt { (texts.key) } dd { code { (visible(key)) } } } }
            @if !summary.tags.is_empty() {
                div { dt { (texts.tags) } dd { @for (name, value) in summary.tags.iter() {
                    a href=(format!("tasks?tags={}", encode(&format!("{name}={value}")))) {
                        (visible(&format!("{name}={value}")))
                    } " "
                } } }
            }
            @if let Some(key) = &task.concurrency_key { div { dt { (texts.concurrency_key) } dd { code { (visible(key)) } } } }
            @if task.crashes > 0 { div { dt { (texts.crashes) } dd { (task.crashes) } } }
            @if !task.then.is_empty() {
                div { dt { (texts.then) } dd { @for (index, function) in task.then.iter().enumerate() {
                    @if index > 0 { " → " } (function_link(function))
                } } }
            }
        }
    }
}

/// The attempts as bars from the acceptance to the end of the last one.
fn timeline(task: &TaskDetails, texts: &Texts) -> Markup {
    let begin = task.summary.accepted_ms;
    let end_of = |started: u64, ran: Option<f64>| started + ran.unwrap_or_default().ceil() as u64;
    let ends = task.history.iter().map(|attempt| end_of(attempt.started_ms, attempt.ran_ms));
    let end = ends.chain(task.summary.ended_ms).max().unwrap_or(begin).max(begin + 1);
    let place = |ms: u64| ms.saturating_sub(begin) as f64 * 100.0 / (end - begin) as f64;
    html! {
        @if task.history.is_empty() { p.faint { (texts.no_attempts) } }
        @else {
            div.scroll { table.timeline {
                tbody { @for attempt in &task.history {
                    @let (left, right) = (place(attempt.started_ms), place(end_of(attempt.started_ms, attempt.ran_ms)));
                    @let class = if attempt.error.is_some() { "failed" } else { "done" };
                    tr {
                        th.number scope="row" { (attempt.number) }
                        td { (format::moment(attempt.started_ms)) }
                        td.number { (attempt.ran_ms.map_or_else(|| "?".to_owned(), short_span)) }
                        td.wide {
                            svg.bar viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
                                rect.empty-bar x="0" y="0" width="100" height="6" {}
                                rect class=(class) x=(format!("{left:.2}")) y="0" width=(format!("{:.2}", (right - left).max(0.8))) height="6" {}
                            }
                        }
                        td.name {
                            span.faint { @match &attempt.worker { Some(worker) => (visible(worker)), None => { (texts.process) " " (attempt.pid) } } }
                            @if let Some(error) = &attempt.error { div.error { (cut(error, 400)) } }
                        }
                    }
                } }
            } }
            p.faint { (format::fill(texts.timeline_about, &[&format::span(end - begin)])) }
        }
    }
}

fn log(task: &TaskDetails) -> Markup {
    html! {
        div.scroll { table.log {
            @for line in &task.notes.log {
                tr {
                    td { (format::moment(line.at_ms)) }
                    td.number.faint { "#" (line.attempt) }
                    td.name { (visible(&line.text)) }
                }
            }
        } }
    }
}

/// The commands that send the same task.
fn commands(task: &TaskDetails, texts: &Texts) -> Markup {
    let (function, arguments) = (&task.summary.function, task.args.get());
    if arguments.len() > COPIED_MAX {
        return html! { p.faint { (texts.too_long_to_copy) } };
    }
    let arguments = quoted(&escaped_json(arguments));
    let queue = quoted(&visible(&task.summary.queue));
    let think = format!("./think task:send {} {arguments} --queue {queue}", quoted(&visible(function)));
    let path = format!("/tasks/{}?queue={}", encode(function), encode(&task.summary.queue));
    let curl = format!("curl --json {arguments} '<SERVER>{path}'");
    html! {
        @for (name, command) in [("task:send", think), ("curl", curl)] {
            div.command { span.faint { (name) } pre.code data-command { (command) } }
        }
    }
}

/// The same JSON without characters that would hide, or turn the direction of what is copied.
fn escaped_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_hidden(letter) {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_json_is_the_same_value() {
        let json = "\"a\u{202e}b\u{7f}\"";
        assert_eq!(escaped_json(json), r#""a\u202eb\u007f""#);
        let values = [json, &escaped_json(json)].map(|json| serde_json::from_str::<Value>(json).unwrap());
        assert_eq!(values[0], values[1]);
    }

    #[test]
    fn quoted_text_is_one_word_of_a_shell() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's; rm -rf /"), r"'it'\''s; rm -rf /'");
    }
}
