//! The functions: their options, their schemas, and a form that sends a task.

use framework_protocol::RequestError;
use framework_protocol::task::HandlerInfo;
use framework_server::server::{PageFields, Scope};
use maud::{Markup, html};
use serde_json::Value;

use crate::format;
use crate::json_view::{json, visible};
use crate::layout::{Screen, Section, empty, form_key};
use crate::schema_form::{SchemaForm, json_field};
use crate::task_parts::queue_link;
use crate::text::Texts;
use crate::visit::{FieldList, Visit, encode};

/// The options of a task that the form has.
const OPTIONS: [&str; 6] = ["queue", "delay", "priority", "attempts", "timeout", "key"];

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let functions: Vec<HandlerInfo> = visit.call("functions", Vec::new()).await?;
    let body = html! {
        @if functions.is_empty() { (empty(texts.no_functions, texts.no_functions_advice)) }
        @else {
            div.scroll { table.rows {
                thead { tr {
                    th { (texts.function) } th { (texts.description) } th { (texts.queue) }
                    th.number { (texts.attempts) } th.number { (texts.timeout) } th { (texts.runs_in) }
                } }
                tbody { @for function in &functions { (row(function, texts)) } }
            } }
        }
    };
    Ok(Screen { title: texts.functions.to_owned(), section: Section::Functions, body })
}

fn row(function: &HandlerInfo, texts: &Texts) -> Markup {
    html! {
        tr {
            td.name { a.row href=(format!("functions/{}", encode(&function.name))) { (visible(&function.name)) } }
            td.name { (visible(&format::first_line(function.description.as_deref().unwrap_or_default(), 120))) }
            td.name { (queue_link(&function.queue)) }
            td.number { (function.attempts) }
            td.number { (function.timeout_ms.map_or_else(|| "–".to_owned(), format::span)) }
            td { (runs_in(function, texts)) }
        }
    }
}

fn runs_in(function: &HandlerInfo, texts: &Texts) -> String {
    let workers = function.workers.as_ref().map(|workers| workers.count);
    match workers {
        Some(0) => texts.nobody.to_owned(),
        Some(count) => format!("{} {}", format::number(count as u64), texts.workers_unit),
        None if function.isolated => texts.child_process.to_owned(),
        None => texts.this_server.to_owned(),
    }
}

/// The page of a function; with what was typed, and why it was refused, after a refusal.
pub(super) async fn show_one(
    visit: &Visit,
    name: &str,
    refused: Option<&RequestError>,
) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let function = find(visit, name).await?;
    let schema = Value::from(function.schema.clone());
    let body = html! {
        @if let Some(about) = &function.description { p.lead.lines { (visible(about)) } }
        dl.facts {
            div { dt { (texts.queue) } dd { (queue_link(&function.queue)) } }
            div { dt { (texts.priority) } dd { (function.priority) } }
            div { dt { (texts.attempts) } dd { (function.attempts) } }
            div { dt { (texts.timeout) } dd { (function.timeout_ms.map_or_else(|| "–".to_owned(), format::span)) } }
            div { dt { (texts.backoff) } dd { (format::span(function.backoff_ms)) } }
            div { dt { (texts.runs_in) } dd { (runs_in(&function, texts)) } }
            @if !function.file.is_empty() { div { dt { (texts.code) } dd { code { (function.file) ":" (function.line) } } } }
            div { dt { (texts.tasks) } dd { a href=(format!("tasks?function={}", encode(&function.name))) { (texts.list) } } }
        }
        div.columns {
            @if visit.server.allows(Scope::Send) { (send_form(visit, &function, &schema, refused)) }
            section.card { h2 { (texts.schema) } (json(&schema.to_string(), texts)) }
        }
    };
    Ok(Screen { title: visible(&function.name), section: Section::Functions, body })
}

async fn find(visit: &Visit, name: &str) -> Result<HandlerInfo, RequestError> {
    let found: Vec<HandlerInfo> = visit.call("functions", vec![("function", Value::from(name))]).await?;
    found.into_iter().next().ok_or_else(|| super::nothing(name))
}

fn send_form(
    visit: &Visit,
    function: &HandlerInfo,
    schema: &Value,
    refused: Option<&RequestError>,
) -> Markup {
    let (texts, typed) = (visit.texts, &visit.form);
    let about = |name: &str| match name {
        "delay" | "timeout" => "30s, 10m, 1h",
        "priority" => "0–9",
        _ => "",
    };
    html! {
        section.card {
            h2 { (texts.send_task) }
            @if let Some(error) = refused { p.error role="alert" { (visible(&error.message)) } }
            form.task-form method="post" action=(format!("functions/{}", encode(&function.name))) {
                (form_key(visit))
                (SchemaForm::new(schema).render(typed, texts))
                details open[typed.get("json").is_some()] { summary { (texts.as_json) } (json_field(typed, texts)) }
                details open[OPTIONS.iter().any(|name| typed.get(name).is_some())] {
                    summary { (texts.options) }
                    @for name in OPTIONS {
                        label.field { span { code { (name) } }
                            input name=(name) value=(typed.get(name).unwrap_or_default()) placeholder=(about(name)) autocomplete="off"; }
                    }
                }
                button.strong { (texts.send) }
            }
        }
    }
}

/// Sends the task that was typed; the address of its page, or the page with what was wrong.
///
/// # Errors
/// The form is of no page of this session, or there is no such function.
pub(crate) async fn send(visit: &Visit, name: &str) -> Result<Result<String, (u16, Screen)>, RequestError> {
    visit.server.check_form(visit.form.get("form_key").unwrap_or_default())?;
    let schema = Value::from(find(visit, name).await?.schema);
    match try_send(visit, name, &schema).await {
        Ok(task) => Ok(Ok(format!("tasks/{task}?said=send"))),
        Err(error) => {
            let status = crate::layout::status(error.code);
            Ok(Err((status, show_one(visit, name, Some(&error)).await?)))
        }
    }
}

async fn try_send(visit: &Visit, name: &str, schema: &Value) -> Result<u64, RequestError> {
    let args = SchemaForm::new(schema).arguments(&visit.form)?;
    visit.server.send(name.to_owned(), args, options(&visit.form)).await
}

fn options(typed: &FieldList) -> PageFields {
    let mut options = typed.fields(&OPTIONS);
    for (name, value) in &mut options {
        // A number of attempts; the others are texts, or known to be numbers.
        if let ("attempts", Some(number)) = (*name, value.as_str().and_then(|text| text.parse::<u64>().ok()))
        {
            *value = number.into();
        }
    }
    options
}
