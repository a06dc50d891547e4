//! The first page: what the server does, and what needs attention.

mod attention;

use framework_protocol::RequestError;
use framework_protocol::task::now_ms;
use framework_protocol::views::{
    ChangeInfo, HistoryFilter, HistoryPoint, Percentiles, QueueInfo, ServerStatus, TaskSummary,
};
use maud::{Markup, html};
use serde_json::Value;

use super::queues;
use crate::actions::button;
use crate::chart;
use crate::format;
use crate::layout::{Screen, Section};
use crate::task_parts::{bar, table, tile};
use crate::text::Texts;
use crate::visit::Visit;

/// The number of the last failed tasks that are shown.
const FAILED: usize = 5;

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let status: ServerStatus = visit.call("status", Vec::new()).await?;
    let queues: Vec<QueueInfo> = visit.call("queues", Vec::new()).await?;
    let changes: Vec<ChangeInfo> = visit.call("changes", Vec::new()).await?;
    let schedules = visit.call("schedules", Vec::new()).await?;
    let failed = vec![("state", Value::from("failed")), ("limit", Value::from(FAILED))];
    let failed: Vec<TaskSummary> = visit.call("list", failed).await?;
    let filter = HistoryFilter { hours: hours(visit), ..HistoryFilter::default() };
    let points: Vec<HistoryPoint> = visit.call("history", vec![("hours", Value::from(filter.hours))]).await?;
    let body = html! {
        (attention::panel(&status, &queues, schedules, texts))
        (tiles(&status, texts))
        (ledger(&status, texts))
        (history(&points, &filter, texts))
        @if !changes.is_empty() { (changes_under_way(visit, &changes)) }
        section {
            h2 { (texts.queues) }
            (queues::table(visit, &queues))
        }
        div.columns {
            (times(&status, texts))
            (workers(&status, texts))
        }
        @if !failed.is_empty() {
            section {
                h2 { a href="failures" { (texts.last_failed) } }
                (table(&failed, texts))
            }
        }
    };
    Ok(Screen { title: texts.overview.to_owned(), section: Section::Overview, body })
}

/// The hours that can be seen.
const HOURS: [u64; 4] = [1, 24, 168, 2_160];

fn hours(visit: &Visit) -> u64 {
    let chosen = visit.query.get("hours").and_then(|hours| hours.parse().ok());
    chosen.filter(|hours| HOURS.contains(hours)).unwrap_or(1)
}

fn history(points: &[HistoryPoint], filter: &HistoryFilter, texts: &Texts) -> Markup {
    let names = [texts.hours_1, texts.hours_24, texts.hours_168, texts.hours_2160];
    html! {
        section.card {
            h2 {
                (texts.history)
                span.choices {
                    @for (hours, name) in HOURS.into_iter().zip(names) {
                        " " a href=(format!("./?hours={hours}")) aria-current=[(hours == filter.hours).then_some("true")] { (name) }
                    }
                }
            }
            @if points.is_empty() { p.faint { (texts.no_history) } }
            @else { (chart::history(points, filter, now_ms(), texts)) }
        }
    }
}

fn tiles(status: &ServerStatus, texts: &Texts) -> Markup {
    let ledger = &status.ledger;
    let oldest = status.oldest_waiting_ms.map_or_else(|| "–".to_owned(), format::span);
    let rate = |rate: f64| format!("{rate:.1}/s");
    let busy = format!("{} / {}", status.workers.busy, status.workers.total);
    html! {
        div.tiles {
            (tile(texts.waiting, &format::number(ledger.waiting), "", Some("tasks?state=waiting")))
            (tile(texts.running, &format::number(ledger.running), "", Some("tasks?state=running")))
            (tile(texts.oldest, &oldest, texts.oldest_about, Some("queues")))
            (tile(texts.accepted_rate, &rate(status.rates.accepted_per_second), texts.last_10_s, None))
            (tile(texts.finished_rate, &rate(status.rates.finished_per_second), texts.last_10_s, None))
            (tile(texts.busy_workers, &busy, "", Some("workers")))
        }
    }
}

/// The ledger as one bar: all tasks that were ever accepted, by where they are.
fn ledger(status: &ServerStatus, texts: &Texts) -> Markup {
    let ledger = &status.ledger;
    let states = [
        ("done", texts.done, ledger.done),
        ("failed", texts.failed, ledger.failed),
        ("cancelled", texts.cancelled, ledger.cancelled),
        ("expired", texts.expired, ledger.expired),
        ("running", texts.running, ledger.running),
        ("waiting", texts.waiting, ledger.waiting),
    ];
    html! {
        section.card.ledger {
            h2 { (texts.ledger) " " span.faint { (format::fill(texts.accepted_count, &[&format::number(ledger.accepted)])) } }
            (bar(&states.map(|(class, _, count)| (class, count)), texts.ledger))
            ul.legend {
                @for (class, name, count) in states {
                    li { a href=(format!("tasks?state={class}")) { i.key data-state=(class) {} (name) " " b { (format::number(count)) } } }
                }
            }
        }
    }
}

fn times(status: &ServerStatus, texts: &Texts) -> Markup {
    let row = |name: &str, times: &Percentiles| {
        let shown = |time: Option<f64>| time.map_or_else(|| "–".to_owned(), format::short_span);
        html! {
            tr {
                th scope="row" { (name) }
                td.number { (shown(times.p50)) }
                td.number { (shown(times.p95)) }
                td.number { (shown(times.p99)) }
            }
        }
    };
    html! {
        section.card {
            h2 { (texts.times) " " span.faint { (texts.last_minutes) } }
            table {
                thead { tr { th {} th.number { "p50" } th.number { "p95" } th.number { "p99" } } }
                tbody {
                    (row(texts.wait_time, &status.waiting_ms))
                    (row(texts.run_time, &status.running_ms))
                }
            }
        }
    }
}

fn workers(status: &ServerStatus, texts: &Texts) -> Markup {
    html! {
        section.card {
            h2 { a href="workers" { (texts.workers) } }
            table {
                thead { tr { th { (texts.worker_group) } th {} th.number { (texts.busy) } th.number { (texts.total) } } }
                tbody {
                    @for (name, group) in &status.worker_groups {
                        tr {
                            th scope="row" { @if name == "*" { (texts.all_queues) } @else { (name) } }
                            td.wide { (bar(&[("running", group.busy as u64), ("idle", group.idle as u64)], texts.busy)) }
                            td.number { (group.busy) }
                            td.number { (group.total) }
                        }
                    }
                }
            }
        }
    }
}

fn changes_under_way(visit: &Visit, changes: &[ChangeInfo]) -> Markup {
    let texts = visit.texts;
    html! {
        section.card {
            h2 { (texts.changes) }
            table {
                @for change in changes {
                    tr {
                        td { (texts.change_kind(change.kind)) }
                        td {
                            @if let Some(queue) = &change.queue { (queue) }
                            @if let Some(batch) = change.batch { a href=(format!("batches/{batch}")) { (texts.batch) " " (batch) } }
                        }
                        td.number {
                            (format::number(change.changed))
                            @if let Some(total) = change.total { " / " (format::number(total)) }
                        }
                        td { (button(visit, "stop_change", &[("change", &change.id.to_string())])) }
                    }
                }
            }
        }
    }
}
