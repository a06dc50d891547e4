//! The queues: how much is in them, for how long it waits, and their pauses.

use framework_protocol::RequestError;
use framework_protocol::views::QueueInfo;
use maud::{Markup, html};

use crate::actions::button;
use crate::format;
use crate::json_view::visible;
use crate::layout::{Screen, Section, empty};
use crate::visit::{Visit, encode};

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let queues: Vec<QueueInfo> = visit.call("queues", Vec::new()).await?;
    let body = table(visit, &queues);
    Ok(Screen { title: visit.texts.queues.to_owned(), section: Section::Queues, body })
}

/// The table of all queues.
pub(super) fn table(visit: &Visit, queues: &[QueueInfo]) -> Markup {
    let texts = visit.texts;
    if queues.is_empty() {
        return empty(texts.no_queues, texts.no_queues_advice);
    }
    html! {
        div.scroll {
            table.rows {
                thead { tr {
                    th { (texts.queue) }
                    th.number { (texts.waiting) }
                    th.number { (texts.oldest) }
                    th.number { (texts.running) }
                    th.number { (texts.delayed) }
                    th.number { (texts.parked) }
                    th.number { (texts.weight) }
                    th.number { (texts.rate) }
                    th {}
                } }
                tbody { @for queue in queues { (row(visit, queue)) } }
            }
        }
    }
}

fn row(visit: &Visit, queue: &QueueInfo) -> Markup {
    let texts = visit.texts;
    let depth = &queue.depth;
    let on = [("queue", queue.name.as_str())];
    let link = |state: &str| format!("tasks?state={state}&queue={}", encode(&queue.name));
    let has_waiting = depth.waiting + depth.delayed + depth.parked > 0;
    html! {
        tr {
            td.name {
                a.row href=(format!("tasks?queue={}", encode(&queue.name))) { (visible(&queue.name)) }
                @if depth.paused { " " span.state data-state="paused" { (texts.paused) } }
            }
            td.number { (count(depth.waiting, Some(link("waiting")))) }
            td.number { (queue.oldest_waiting_ms.map_or_else(|| "–".to_owned(), format::span)) }
            td.number { (count(depth.running, Some(link("running")))) }
            td.number { (count(depth.delayed, None)) }
            td.number { (count(depth.parked, None)) }
            td.number { (queue.weight) }
            td.number { (queue.rate.as_deref().unwrap_or("–")) }
            td.actions {
                @if depth.paused { (button(visit, "resume_queue", &on)) } @else { (button(visit, "pause_queue", &on)) }
                @if has_waiting { (button(visit, "flush_queue", &on)) }
            }
        }
    }
}

/// A count, which does not catch the eye when it is zero.
fn count(count: u64, link: Option<String>) -> Markup {
    let shown = format::number(count);
    html! {
        @match (count, link) {
            (0, _) => span.faint { (shown) },
            (_, Some(link)) => a href=(link) { (shown) },
            (_, None) => (shown),
        }
    }
}
