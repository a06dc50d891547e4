//! The parts that several pages show of tasks: states, rows, bars.

use framework_protocol::views::{State, TaskSummary};
use maud::{Markup, html};

use crate::format;
use crate::json_view::visible;
use crate::text::Texts;
use crate::visit::encode;

/// The characters of an error that a row shows.
const ERROR_MAX: usize = 160;

/// The state of a task, with a colour and a word.
pub(crate) fn state(state: State, is_parked: bool, texts: &Texts) -> Markup {
    let (class, name) = if is_parked { ("parked", texts.parked) } else { (state.name(), texts.state(state)) };
    html! { span.state data-state=(class) { (name) } }
}

/// A link to a list of tasks of this queue.
pub(crate) fn queue_link(queue: &str) -> Markup {
    html! { a href=(format!("tasks?queue={}", encode(queue))) { (visible(queue)) } }
}

/// A link to the page of a function.
pub(crate) fn function_link(function: &str) -> Markup {
    html! { a href=(format!("functions/{}", encode(function))) { (visible(function)) } }
}

/// The table of some tasks.
pub(crate) fn table(tasks: &[TaskSummary], texts: &Texts) -> Markup {
    html! {
        div.scroll {
            table.rows {
                thead { tr {
                    th.number { (texts.task) }
                    th { (texts.state_head) }
                    th { (texts.function) }
                    th { (texts.queue) }
                    th.number { (texts.attempts) }
                    th { (texts.accepted_at) }
                    th { (texts.ended_at) }
                } }
                tbody { @for task in tasks { (row(task, texts)) } }
            }
        }
    }
}

fn row(task: &TaskSummary, texts: &Texts) -> Markup {
    html! {
        tr {
            td.number { a.row href=(format!("tasks/{}", task.id)) { (task.id) } }
            td { (state(task.state, task.parked, texts)) }
            td.name {
                (function_link(&task.function))
                @if let Some(error) = &task.error {
                    div.error { (visible(&format::first_line(error, ERROR_MAX))) }
                }
            }
            td.name { (queue_link(&task.queue)) }
            td.number { (task.attempts) }
            td { (format::moment(task.accepted_ms)) }
            td {
                @if let Some(ended) = task.ended_ms { (format::moment(ended)) }
                @else if let Some(due) = task.due_ms.filter(|_| task.state == State::Waiting) {
                    span.faint { (texts.due) " " (format::moment(due)) }
                }
            }
        }
    }
}

/// A bar of parts, each with its class and its size; nothing when all are empty.
pub(crate) fn bar(parts: &[(&str, u64)], label: &str) -> Markup {
    let total: u64 = parts.iter().map(|(_, size)| size).sum();
    let mut left = 0.0;
    let parts: Vec<_> = parts
        .iter()
        .filter(|(_, size)| *size > 0)
        .map(|(class, size)| {
            let width = *size as f64 * 100.0 / total as f64;
            left += width;
            (*class, left - width, width)
        })
        .collect();
    html! {
        svg.bar viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.empty-bar x="0" y="0" width="100" height="6" {}
            @for (class, left, width) in parts {
                rect class=(class) x=(format!("{left:.2}")) y="0" width=(format!("{width:.2}")) height="6" {}
            }
        }
    }
}

/// One figure with its name.
pub(crate) fn tile(name: &str, value: &str, note: &str, link: Option<&str>) -> Markup {
    html! {
        @if let Some(link) = link {
            a.tile href=(link) { span.tile-name { (name) } strong { (value) } span.faint { (note) } }
        } @else {
            div.tile { span.tile-name { (name) } strong { (value) } span.faint { (note) } }
        }
    }
}
