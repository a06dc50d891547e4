//! The failed tasks by their causes, and the last of them.

use framework_protocol::RequestError;
use framework_protocol::views::{FailureGroup, FailureReport, QueueInfo, TaskSummary};
use maud::{Markup, html};
use serde_json::Value;

use crate::actions::button;
use crate::format::{self, fill};
use crate::json_view::visible;
use crate::layout::{Screen, Section, empty};
use crate::task_parts::{function_link, table};
use crate::text::Texts;
use crate::visit::{Visit, encode};

/// The most causes and failed tasks that are listed, and the characters of an error that one shows.
const CAUSES_MAX: usize = 50;
const TASKS_MAX: usize = 50;
const ERROR_MAX: usize = 300;

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let mut fields = visit.query.fields(&["queue", "cause"]);
    fields.push(("limit", Value::from(CAUSES_MAX)));
    let report: FailureReport = visit.call("failures", fields).await?;
    let body = match (visit.query.get("cause"), &report.groups[..]) {
        (Some(_), [group]) => one_cause(visit, group),
        _ => all_causes(visit, &report).await?,
    };
    Ok(Screen { title: texts.failures.to_owned(), section: Section::Failures, body })
}

async fn all_causes(visit: &Visit, report: &FailureReport) -> Result<Markup, RequestError> {
    let texts = visit.texts;
    let queues: Vec<QueueInfo> = visit.call("queues", Vec::new()).await?;
    let mut fields = visit.query.fields(&["queue"]);
    fields.extend([("state", Value::from("failed")), ("limit", Value::from(TASKS_MAX))]);
    let tasks: Vec<TaskSummary> = visit.call("list", fields).await?;
    Ok(html! {
        (choice(visit, &queues))
        @if report.failed == 0 { (empty(texts.no_failures, texts.no_failures_advice)) }
        @else {
            (bulk_actions(visit))
            section {
                h2 { (texts.causes) " " span.faint { (looked_at(report, texts)) } }
                (causes_table(visit, report))
                @if report.unlisted > 0 {
                    p.faint { (fill(texts.other_causes, &[&format::number(report.unlisted)])) }
                }
            }
            section {
                h2 { (texts.last_failed) }
                (table(&tasks, texts))
                @if report.failed > TASKS_MAX as u64 {
                    @let queue = visit.query.get("queue").map(|queue| format!("&queue={}", encode(queue)));
                    p { a href=(format!("tasks?state=failed{}", queue.unwrap_or_default())) { (texts.all_failed) " »" } }
                }
            }
        }
    })
}

/// One cause in full, with what can be done about it.
fn one_cause(visit: &Visit, group: &FailureGroup) -> Markup {
    let texts = visit.texts;
    html! {
        p { a href="failures" { "« " (texts.all_causes) } }
        (cause_actions(visit, group))
        dl.facts {
            div { dt { (texts.function) } dd { (function_link(&group.function)) } }
            div { dt { (texts.count) } dd { (format::number(group.count)) } }
            div { dt { (texts.first_time) } dd { (format::moment(group.first_ms)) } }
            div { dt { (texts.last_time) } dd { (format::moment(group.last_ms)) } }
            div { dt { (texts.last_task) } dd {
                a href=(format!("tasks/{}", group.last_task)) { (texts.task) " " (group.last_task) }
            } }
            div { dt { (texts.cause) } dd { code { (group.cause) } } }
        }
        section { h2 { (texts.pattern) } p { (visible(&group.pattern)) } }
        section { h2 { (texts.error) } pre { (visible(&group.error)) } }
        section {
            h2 { (texts.by_day) }
            div.scroll { table.rows { tbody { @for day in group.days.iter().rev() {
                tr { td { (format::day(day.at_ms)) } td.number { (format::number(day.count)) } }
            } } } }
        }
    }
}

fn cause_actions(visit: &Visit, group: &FailureGroup) -> Markup {
    let cause = group.cause.to_string();
    let mut on = vec![("failed", "true"), ("cause", &*cause)];
    on.extend(visit.query.get("queue").map(|queue| ("queue", queue)));
    html! { div.actions { (button(visit, "retry_failed", &on)) (button(visit, "forget_failed", &on)) } }
}

fn looked_at(report: &FailureReport, texts: &Texts) -> String {
    let is_whole = report.is_complete;
    fill(if is_whole { texts.of_all_failed } else { texts.of_last_failed }, &[&format::number(report.failed)])
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

fn causes_table(visit: &Visit, report: &FailureReport) -> Markup {
    let texts = visit.texts;
    let queue = visit.query.get("queue").map(|queue| format!("&queue={}", encode(queue))).unwrap_or_default();
    html! {
        div.scroll { table.rows {
            thead { tr {
                th.number { (texts.count) }
                th { (texts.function) }
                th { (texts.error) }
                th { (texts.first_time) }
                th { (texts.last_time) }
            } }
            tbody { @for group in &report.groups {
                tr {
                    td.number { b { (format::number(group.count)) } }
                    td.name { (function_link(&group.function)) }
                    td.name {
                        a.row href=(format!("failures?cause={}{queue}", group.cause)) {
                            (visible(&format::first_line(&group.error, ERROR_MAX)))
                        }
                    }
                    td { (format::moment(group.first_ms)) }
                    td { (format::moment(group.last_ms)) }
                }
            } }
        } }
    }
}
