//! The server itself: where it listens, what it stores, which limits were reached.

use framework_protocol::RequestError;
use framework_protocol::views::{Auth, ListenAddress, ServerStatus};
use maud::{Markup, html};

use crate::format;
use crate::json_view::visible;
use crate::layout::{Screen, Section};
use crate::text::Texts;
use crate::visit::Visit;

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let status: ServerStatus = visit.call("status", Vec::new()).await?;
    let body = html! {
        (facts(&status, texts))
        section { h2 { (texts.listeners) } (listeners(&status.addresses, texts)) }
        section { h2 { (texts.limits) " " span.faint { (texts.limits_about) } } (limits(&status, texts)) }
        section.card {
            h2 { (texts.for_programs) }
            ul.links {
                li { a href="../metrics" { "/metrics" } " " span.faint { "Prometheus" } }
                li { a href="../openapi.json" { "/openapi.json" } " " span.faint { "OpenAPI" } }
                li { a href="../status" { "/status" } }
                li { a href="../healthz" { "/healthz" } " " a href="../readyz" { "/readyz" } }
            }
        }
    };
    Ok(Screen { title: texts.server.to_owned(), section: Section::Server, body })
}

fn facts(status: &ServerStatus, texts: &Texts) -> Markup {
    let durability = serde_json::to_value(status.durability).ok();
    let durability = durability.as_ref().and_then(|name| name.as_str()).unwrap_or_default();
    let files = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), format::number);
    let connections = &status.connections;
    html! {
        dl.facts {
            div { dt { (texts.version) } dd { (status.version) } }
            div { dt { (texts.process) } dd { (status.pid) } }
            div { dt { (texts.uptime) } dd { (format::span(status.uptime_ms)) } }
            div { dt { (texts.storage) } dd { (status.store) " · " (durability) } }
            div { dt { (texts.threads) } dd { (status.threads.io) " I/O, " (status.threads.task) " " (texts.for_tasks) } }
            div { dt { (texts.connections) } dd { (format::number(connections.current as u64)) } }
            div { dt { (texts.connections_total) } dd { (format::number(connections.total)) } }
            div { dt { (texts.connections_refused) } dd { (format::number(connections.refused)) } }
            div { dt { (texts.open_files) } dd { (files(status.open_files.used)) " / " (files(status.open_files.limit)) } }
        }
        @if let Some(error) = &status.storage_error { div.card.bad { p { (visible(error)) } } }
        @if let Some(warning) = &status.storage_warning { div.card.odd { p { (visible(warning)) } } }
    }
}

fn listeners(addresses: &[ListenAddress], texts: &Texts) -> Markup {
    html! {
        div.scroll { table.rows {
            thead { tr { th { (texts.address) } th { (texts.protocol) } th { "TLS" } th { (texts.sign_in) } } }
            tbody { @for listener in addresses {
                tr {
                    td { code { (listener.address) } }
                    td { @for protocol in &listener.protocols { (protocol.name()) " " } }
                    td { @if listener.tls_only { (texts.tls_only) } @else if listener.tls { "✓" } @else { span.faint { "–" } } }
                    td { @if listener.auth == Auth::Token { (texts.token) } @else { span.faint { (texts.no_token) } } }
                }
            } }
        } }
    }
}

fn limits(status: &ServerStatus, texts: &Texts) -> Markup {
    let (hit, never): (Vec<_>, Vec<_>) = status.limits.iter().partition(|(_, count)| **count > 0);
    html! {
        @if hit.is_empty() { p.faint { (texts.no_limits) } }
        @else {
            table.rows.narrow { tbody { @for (name, count) in hit {
                tr { td { code { (name) } } td.number { (format::number(*count)) } }
            } } }
        }
        details { summary { (texts.limits_never) } p.faint { @for (name, _) in never { code { (name) } " " } } }
    }
}
