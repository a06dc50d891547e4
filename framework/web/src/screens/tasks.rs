//! The list of tasks: filtered by its address, the newest first, page by page.

use framework_protocol::RequestError;
use framework_protocol::task::HandlerInfo;
use framework_protocol::views::{QueueInfo, SearchResult, State};
use maud::{Markup, html};
use serde_json::Value;

use crate::format;
use crate::json_view::visible;
use crate::layout::{Screen, Section, empty};
use crate::task_parts::table;
use crate::visit::{Visit, encode};

/// The tasks of a page.
const PAGE: usize = 50;
/// The filters that stand in the address.
const FILTERS: [&str; 7] = ["state", "queue", "function", "batch", "text", "tags", "since"];

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let mut fields = visit.query.fields(&["state", "queue", "function", "batch", "text", "since", "before"]);
    fields.push(("limit", Value::from(PAGE)));
    if let Some(tags) = visit.query.get("tags") {
        let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty());
        fields.push(("tags", tags.collect()));
    }
    let found: SearchResult = visit.call("search", fields).await?;
    let queues: Vec<QueueInfo> = visit.call("queues", Vec::new()).await?;
    let functions: Vec<HandlerInfo> = visit.call("functions", Vec::new()).await?;
    let is_filtered = FILTERS.iter().any(|name| visit.query.get(name).is_some());
    let body = html! {
        (filter(visit, &queues, &functions))
        @if !found.tasks.is_empty() { (table(&found.tasks, texts)) }
        @else if !found.is_complete { (empty(texts.none_so_far, texts.none_so_far_advice)) }
        @else if is_filtered { (empty(texts.no_such_tasks, texts.no_such_tasks_advice)) }
        @else { (empty(texts.no_tasks, texts.no_tasks_advice)) }
        (pager(visit, &found))
    };
    Ok(Screen { title: texts.tasks.to_owned(), section: Section::Tasks, body })
}

fn filter(visit: &Visit, queues: &[QueueInfo], functions: &[HandlerInfo]) -> Markup {
    let texts = visit.texts;
    let chosen = |name: &str| visit.query.get(name).unwrap_or_default();
    let state = |name: &str| name.parse().map_or("", |state: State| texts.state(state));
    html! {
        form.filter action="tasks" {
            label { span { (texts.state_head) } select name="state" {
                option value="" { (texts.any) }
                @for name in State::NAMES {
                    option value=(name) selected[*name == chosen("state")] { (state(name)) }
                }
            } }
            label { span { (texts.queue) } select name="queue" {
                option value="" { (texts.any) }
                @for queue in queues {
                    option value=(queue.name) selected[queue.name == chosen("queue")] { (visible(&queue.name)) }
                }
            } }
            label { span { (texts.function) }
                input name="function" list="functions" value=(chosen("function")) autocomplete="off"; }
            datalist #functions { @for function in functions { option value=(function.name) {} } }
            label { span { (texts.batch) } input name="batch" value=(chosen("batch")) inputmode="numeric" size="6"; }
            label { span { (texts.text) } input name="text" value=(chosen("text")) autocomplete="off"; }
            label { span { (texts.tags) }
                input name="tags" value=(chosen("tags")) placeholder="tenant=7" autocomplete="off"; }
            label { span { (texts.since) } select name="since" {
                option value="" { (texts.any) }
                @for (span, name) in [("1h", texts.hours_1), ("24h", texts.hours_24), ("168h", texts.hours_168)] {
                    option value=(span) selected[span == chosen("since")] { (name) }
                }
                @if !["", "1h", "24h", "168h"].contains(&chosen("since")) {
                    option value=(chosen("since")) selected { (visible(chosen("since"))) }
                }
            } }
            button { (texts.filter) }
            a.quiet href="tasks" { (texts.clear) }
        }
    }
}

fn pager(visit: &Visit, found: &SearchResult) -> Markup {
    let texts = visit.texts;
    let kept: Vec<_> = FILTERS
        .iter()
        .filter_map(|name| Some(format!("{name}={}", encode(visit.query.get(name)?))))
        .collect();
    let kept = kept.join("&");
    let range = found.tasks.first().zip(found.tasks.last());
    html! {
        div.pager {
            @if visit.query.get("before").is_some() { a href=(format!("tasks?{kept}")) { "« " (texts.newest) } }
            @if let Some((first, last)) = range {
                span.faint { (format::fill(texts.task_range, &[&first.id.to_string(), &last.id.to_string()])) }
            }
            @if let Some(before) = found.before.filter(|before| !found.is_complete && *before > 0) {
                a data-key="n" href=(format!("tasks?{kept}&before={before}")) {
                    (if found.tasks.len() < PAGE { texts.search_on } else { texts.older }) " »"
                }
            }
        }
    }
}
