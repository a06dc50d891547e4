//! Who runs tasks, and who is connected.

use framework_protocol::RequestError;
use framework_protocol::views::{ConnectionInfo, ProgramInfo, ServerStatus, WorkerInfo, Workers};
use maud::{Markup, html};
use serde_json::Value;

use crate::actions::button;
use crate::format;
use crate::json_view::visible;
use crate::layout::{Screen, Section};
use crate::task_parts::bar;
use crate::text::Texts;
use crate::visit::Visit;

/// The connections of a page.
const CONNECTIONS: usize = 50;

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let status: ServerStatus = visit.call("status", Vec::new()).await?;
    let workers: Vec<WorkerInfo> = visit.call("workers", Vec::new()).await?;
    let mut fields = visit.query.fields(&["after"]);
    fields.push(("limit", Value::from(CONNECTIONS)));
    let connections: Vec<ConnectionInfo> = visit.call("connections", fields).await?;
    let body = html! {
        section.card {
            h2 { (texts.own_workers) }
            (own_workers(&status, texts))
        }
        @if !status.programs.is_empty() { section { h2 { (texts.programs) } (programs(&status.programs, texts)) } }
        section {
            h2 { (texts.remote_workers) " " span.faint { (format::number(workers.len() as u64)) } }
            @if workers.is_empty() { p.faint { (texts.no_workers) } } @else { (remote_workers(visit, &workers)) }
        }
        section {
            h2 { (texts.connections) " " span.faint { (format::number(status.connections.current as u64)) } }
            (connection_table(&connections, texts))
        }
    };
    Ok(Screen { title: texts.workers.to_owned(), section: Section::Workers, body })
}

fn own_workers(status: &ServerStatus, texts: &Texts) -> Markup {
    let row = |name: &str, workers: &Workers| {
        let name = if name == "*" { texts.all_queues } else { name };
        html! {
            tr {
                th scope="row" { (name) }
                td.wide { (bar(&[("running", workers.busy as u64), ("idle", workers.idle as u64)], texts.busy)) }
                td.number { (workers.busy) " / " (workers.total) }
            }
        }
    };
    if status.workers.total == 0 {
        return html! { p.faint { (texts.no_own_workers) } };
    }
    html! { table { @for (name, workers) in &status.worker_groups { (row(name, workers)) } } }
}

fn programs(programs: &[ProgramInfo], texts: &Texts) -> Markup {
    html! {
        div.scroll { table.rows {
            thead { tr {
                th { (texts.name) } th { (texts.command) } th.number { (texts.processes) }
                th.number { (texts.restarts) } th { (texts.last_exit) }
            } }
            tbody { @for program in programs {
                tr {
                    td.name { (visible(&program.name)) @if let Some(error) = &program.error { div.error { (visible(error)) } } }
                    td.name { code { (visible(&program.command)) } }
                    td.number { (program.running) " / " (program.count) }
                    td.number { (program.restarts) }
                    td.name { (visible(program.last_exit.as_deref().unwrap_or("–"))) }
                }
            } }
        } }
    }
}

fn remote_workers(visit: &Visit, workers: &[WorkerInfo]) -> Markup {
    let texts = visit.texts;
    html! {
        div.scroll { table.rows {
            thead { tr {
                th { (texts.worker) } th { (texts.language_head) } th { (texts.functions) }
                th.number { (texts.running) } th.number { (texts.credit) } th.number { (texts.connected_for) }
                th.number { (texts.silent_for) } th {}
            } }
            tbody { @for worker in workers {
                tr {
                    td.name {
                        (visible(&worker.name)) " " span.faint { (worker.peer) }
                        @if worker.quiet { " " span.state data-state="paused" { (texts.draining) } }
                    }
                    td.name { (visible(&worker.language)) }
                    td.name { (visible(&format::first_line(&worker.functions.join(", "), 200))) }
                    td.number { (worker.running) }
                    td.number { (worker.credit) }
                    td.number { (format::span(worker.connected_ms)) }
                    td.number { (format::span(worker.silent_ms)) }
                    td.actions { @if !worker.quiet { (button(visit, "drain_worker", &[("worker", worker.name.as_str())])) } }
                }
            } }
        } }
    }
}

fn connection_table(connections: &[ConnectionInfo], texts: &Texts) -> Markup {
    html! {
        div.scroll { table.rows {
            thead { tr {
                th.number { "#" } th { (texts.peer) } th { (texts.protocol) } th { "TLS" }
                th.number { (texts.received) } th.number { (texts.sent) } th.number { (texts.queued) }
                th.number { (texts.in_flight) } th.number { (texts.idle_for) } th.number { (texts.connected_for) }
            } }
            tbody { @for connection in connections {
                tr {
                    td.number { (connection.id) }
                    td { (visible(&connection.peer)) }
                    td { (connection.protocol.map_or("–", |protocol| protocol.name())) }
                    td { @if connection.tls { "✓" } @else { span.faint { "–" } } }
                    td.number { (format::bytes(connection.bytes_in)) }
                    td.number { (format::bytes(connection.bytes_out)) }
                    td.number { (format::bytes(connection.queued as u64)) }
                    td.number { (connection.in_flight) }
                    td.number { (format::span(connection.idle_ms)) }
                    td.number { (format::span(connection.connected_ms)) }
                }
            } }
        } }
        @if connections.len() == CONNECTIONS {
            @let last = connections.last().map_or(0, |connection| connection.id);
            div.pager { a data-key="n" href=(format!("workers?after={last}")) { (texts.next) " »" } }
        }
    }
}
