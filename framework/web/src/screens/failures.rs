//! The failed tasks, and what the last of them have in common.

use framework_protocol::RequestError;
use framework_protocol::views::{QueueInfo, TaskSummary};
use maud::{Markup, html};
use serde_json::Value;

use crate::actions::button;
use crate::format::{self, fill};
use crate::json_view::visible;
use crate::layout::{Screen, Section, empty};
use crate::task_parts::{function_link, table};
use crate::text::Texts;
use crate::visit::{Visit, encode};

/// The last failed tasks that are looked at, and those that are listed.
const LOOKED_AT: usize = 1_000;
const LISTED: usize = 50;
/// The most causes that are listed, and the characters of an error that one shows.
const CAUSES_MAX: usize = 50;
const ERROR_MAX: usize = 300;

/// Failed tasks of one function with the same error, as far as its numbers and quotes do not matter.
struct Cause<'a> {
    function: &'a str,
    pattern: String,
    count: u64,
    /// The newest one, and the time at which the oldest one ended.
    last: &'a TaskSummary,
    first_ms: u64,
}

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let mut fields = visit.query.fields(&["queue"]);
    fields.extend([("state", Value::from("failed")), ("limit", Value::from(LOOKED_AT))]);
    let tasks: Vec<TaskSummary> = visit.call("list", fields).await?;
    let queues: Vec<QueueInfo> = visit.call("queues", Vec::new()).await?;
    let body = html! {
        (choice(visit, &queues))
        @if tasks.is_empty() { (empty(texts.no_failures, texts.no_failures_advice)) }
        @else {
            (bulk_actions(visit))
            section {
                h2 { (texts.causes) " " span.faint { (looked_at(tasks.len(), texts)) } }
                (causes_table(&causes(&tasks), texts))
            }
            section {
                h2 { (texts.last_failed) }
                (table(&tasks[..tasks.len().min(LISTED)], texts))
                @if tasks.len() > LISTED {
                    @let queue = visit.query.get("queue").map(|queue| format!("&queue={}", encode(queue)));
                    p { a href=(format!("tasks?state=failed{}", queue.unwrap_or_default())) { (texts.all_failed) " »" } }
                }
            }
        }
    };
    Ok(Screen { title: texts.failures.to_owned(), section: Section::Failures, body })
}

fn looked_at(count: usize, texts: &Texts) -> String {
    let count_text = format::number(count as u64);
    fill(if count < LOOKED_AT { texts.of_all_failed } else { texts.of_last_failed }, &[&count_text])
}

fn choice(visit: &Visit, queues: &[QueueInfo]) -> Markup {
    let texts = visit.texts;
    let chosen = visit.query.get("queue").unwrap_or_default();
    html! {
        form.filter action="failures" {
            label { span { (texts.queue) } select name="queue" {
                option value="" { (texts.any) }
                @for queue in queues {
                    option value=(queue.name) selected[queue.name == chosen] { (visible(&queue.name)) }
                }
            } }
            button { (texts.filter) }
        }
    }
}

fn bulk_actions(visit: &Visit) -> Markup {
    let queue = visit.query.get("queue");
    let mut on = vec![("failed", "true")];
    on.extend(queue.map(|queue| ("queue", queue)));
    html! { div.actions { (button(visit, "retry_failed", &on)) (button(visit, "forget_failed", &on)) } }
}

/// The causes of these tasks, the most frequent first.
fn causes(tasks: &[TaskSummary]) -> Vec<Cause<'_>> {
    let mut causes: Vec<Cause> = Vec::new();
    for task in tasks {
        let pattern = pattern(task.error.as_deref().unwrap_or_default());
        let ended_ms = task.ended_ms.unwrap_or(task.accepted_ms);
        let known =
            causes.iter_mut().find(|cause| cause.function == task.function && cause.pattern == pattern);
        match known {
            Some(cause) => {
                cause.count += 1;
                cause.first_ms = cause.first_ms.min(ended_ms);
                if cause.last.ended_ms < task.ended_ms {
                    cause.last = task;
                }
            }
            None => causes.push(Cause {
                function: &task.function,
                pattern,
                count: 1,
                last: task,
                first_ms: ended_ms,
            }),
        }
    }
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
    causes.truncate(CAUSES_MAX);
    causes
}

/// The first line of an error with numbers, ids and quoted texts replaced.
fn pattern(error: &str) -> String {
    let mut pattern = String::new();
    let mut letters = error.lines().next().unwrap_or_default().chars().peekable();
    while let Some(letter) = letters.next() {
        let is_word = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
        if matches!(letter, '"' | '\'') && letters.clone().any(|other| other == letter) {
            letters.by_ref().find(|other| *other == letter);
            pattern.push('…');
        } else if letter.is_ascii_alphanumeric() {
            let mut word = String::from(letter);
            while let Some(letter) = letters.next_if(is_word) {
                word.push(letter);
            }
            let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
            pattern.push_str(if has_digit { "#" } else { &word });
        } else {
            pattern.push(letter);
        }
    }
    pattern
}

fn causes_table(causes: &[Cause], texts: &Texts) -> Markup {
    html! {
        div.scroll { table.rows {
            thead { tr {
                th.number { (texts.count) }
                th { (texts.function) }
                th { (texts.error) }
                th { (texts.first_time) }
                th { (texts.last_time) }
            } }
            tbody { @for cause in causes {
                tr {
                    td.number { b { (format::number(cause.count)) } }
                    td.name { (function_link(cause.function)) }
                    td.name {
                        a.row href=(format!("tasks/{}", cause.last.id)) {
                            (visible(&format::first_line(cause.last.error.as_deref().unwrap_or("–"), ERROR_MAX)))
                        }
                    }
                    td { (format::moment(cause.first_ms)) }
                    td { (format::moment_or_dash(cause.last.ended_ms)) }
                }
            } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_is_the_same_for_other_numbers_ids_and_quotes() {
        let one = "user 17 of \"Ada's\" at 10.0.0.1:25 failed: 4f0c-99ab";
        let other = "user 18021 of \"Bob\" at 10.9.0.7:587 failed: 77aa-0c1d\n  at line 7";
        assert_eq!(pattern(one), pattern(other));
        assert_eq!(pattern(one), "user # of … at #.#.#.#:# failed: #");
        assert_ne!(pattern("connection refused"), pattern("connection reset"));
        assert_eq!(pattern("it's over"), "it's over");
    }
}
