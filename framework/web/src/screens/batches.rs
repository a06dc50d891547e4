//! The batches, and one of them.

use framework_protocol::RequestError;
use framework_protocol::views::{BatchInfo, BatchState, TaskSummary};
use maud::{Markup, html};
use serde_json::Value;

use super::id;
use crate::actions::button;
use crate::format;
use crate::json_view::visible;
use crate::layout::{Screen, Section, empty};
use crate::task_parts::{bar, function_link, table};
use crate::text::Texts;
use crate::visit::Visit;

/// The batches of the list, and the tasks of one batch that are listed.
const LISTED: usize = 100;
const TASKS: usize = 20;

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let batches: Vec<BatchInfo> = visit.call("batches", vec![("limit", Value::from(LISTED))]).await?;
    let body = html! {
        @if batches.is_empty() { (empty(texts.no_batches, texts.no_batches_advice)) }
        @else {
            div.scroll { table.rows {
                thead { tr {
                    th.number { (texts.batch) }
                    th { (texts.name) }
                    th { (texts.function) }
                    th { (texts.state_head) }
                    th { (texts.progress) }
                    th.number { (texts.done) }
                    th.number { (texts.failed) }
                    th.number { (texts.total) }
                    th { (texts.opened_at) }
                    th { (texts.ended_at) }
                } }
                tbody { @for batch in &batches { (row(batch, texts)) } }
            } }
        }
    };
    Ok(Screen { title: texts.batches.to_owned(), section: Section::Batches, body })
}

fn row(batch: &BatchInfo, texts: &Texts) -> Markup {
    html! {
        tr {
            td.number { a.row href=(format!("batches/{}", batch.id)) { (batch.id) } }
            td.name { (visible(&batch.name)) }
            td.name { (function_link(&batch.function)) }
            td { (state(batch, texts)) }
            td.wide { (progress(batch, texts)) }
            td.number { (format::number(batch.done)) }
            td.number { (format::number(batch.failed)) }
            td.number { (format::number(batch.total)) }
            td { (format::moment(batch.opened_ms)) }
            td { (format::moment_or_dash(batch.ended_ms)) }
        }
    }
}

fn state(batch: &BatchInfo, texts: &Texts) -> Markup {
    html! { span.state data-state=(batch.state.name()) { (texts.batch_state(batch.state)) } }
}

fn progress(batch: &BatchInfo, texts: &Texts) -> Markup {
    let rest = batch.total.saturating_sub(batch.ended());
    let parts = [
        ("done", batch.done),
        ("failed", batch.failed),
        ("cancelled", batch.cancelled),
        ("expired", batch.expired),
        ("waiting", rest),
    ];
    bar(&parts, texts.progress)
}

pub(super) async fn show_one(visit: &Visit, number: &str) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let batch: BatchInfo = visit.call("batch", vec![("batch", Value::from(id(number)?))]).await?;
    let fields = vec![("batch", Value::from(batch.id)), ("limit", Value::from(TASKS))];
    let tasks: Vec<TaskSummary> = visit.call("list", fields).await?;
    let number = batch.id.to_string();
    let on = [("batch", number.as_str())];
    let has_ended = batch.state == BatchState::Ended;
    let body = html! {
        div.task-head {
            (state(&batch, texts))
            span.actions {
                @if has_ended && batch.done < batch.total { (button(visit, "retry_batch", &on)) }
                @if !has_ended { (button(visit, "cancel_batch", &on)) }
            }
        }
        section.card {
            (progress(&batch, texts))
            (counts(&batch, texts))
        }
        dl.facts {
            div { dt { (texts.name) } dd { (visible(&batch.name)) } }
            div { dt { (texts.function) } dd { (function_link(&batch.function)) } }
            div { dt { (texts.opened_at) } dd { (format::moment(batch.opened_ms)) } }
            div { dt { (texts.ended_at) } dd { (format::moment_or_dash(batch.ended_ms)) } }
            @if let Some(then) = &batch.then {
                div { dt { (texts.then) } dd {
                    (function_link(then))
                    @if let Some(task) = batch.then_task { " " a href=(format!("tasks/{task}")) { (texts.task) " " (task) } }
                } }
            }
        }
        section {
            h2 { a href=(format!("tasks?batch={}", batch.id)) { (texts.tasks) } }
            @if tasks.is_empty() { p.faint { (texts.no_such_tasks) } } @else { (table(&tasks, texts)) }
        }
    };
    let title = format!("{} {}", texts.batch, batch.id);
    Ok(Screen { title, section: Section::Batches, body })
}

fn counts(batch: &BatchInfo, texts: &Texts) -> Markup {
    let counts = [
        ("done", texts.done, batch.done),
        ("failed", texts.failed, batch.failed),
        ("cancelled", texts.cancelled, batch.cancelled),
        ("expired", texts.expired, batch.expired),
        ("waiting", texts.to_come, batch.total.saturating_sub(batch.ended())),
    ];
    html! {
        ul.legend {
            @for (class, name, count) in counts {
                li { i.key data-state=(class) {} (name) " " b { (format::number(count)) } }
            }
        }
    }
}
