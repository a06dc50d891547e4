//! What runs by the clock.

use framework_protocol::RequestError;
use framework_protocol::views::ScheduleInfo;
use maud::{Markup, html};

use crate::actions::button;
use crate::format;
use crate::json_view::visible;
use crate::layout::{Screen, Section, empty};
use crate::task_parts::function_link;
use crate::visit::Visit;

pub(super) async fn show(visit: &Visit) -> Result<Screen, RequestError> {
    let texts = visit.texts;
    let schedules: Vec<ScheduleInfo> = visit.call("schedules", Vec::new()).await?;
    let body = html! {
        @if schedules.is_empty() { (empty(texts.no_schedules, texts.no_schedules_advice)) }
        @else {
            div.scroll { table.rows {
                thead { tr {
                    th { (texts.name) }
                    th { (texts.function) }
                    th { (texts.cron) }
                    th { (texts.next_run) }
                    th { (texts.last_run) }
                    th {}
                } }
                tbody { @for schedule in &schedules { (row(visit, schedule)) } }
            } }
        }
    };
    Ok(Screen { title: texts.schedules.to_owned(), section: Section::Schedules, body })
}

fn row(visit: &Visit, schedule: &ScheduleInfo) -> Markup {
    let texts = visit.texts;
    let on = [("schedule", schedule.name.as_str())];
    html! {
        tr {
            td.name {
                (visible(&schedule.name))
                @if schedule.paused { " " span.state data-state="paused" { (texts.paused) } }
                @if let Some(error) = &schedule.error { div.error { (visible(error)) } }
            }
            td.name { @match &schedule.function { Some(function) => (function_link(function)), None => span.faint { (texts.not_in_server) } } }
            td {
                code { (schedule.cron.as_deref().unwrap_or("–")) }
                @if let Some(zone) = &schedule.timezone { " " span.faint { (zone) } }
            }
            td { (format::moment_or_dash(schedule.next_ms)) }
            td {
                (format::moment_or_dash(schedule.fired_ms))
                @if let Some(task) = schedule.task { " " a href=(format!("tasks/{task}")) { (texts.task) " " (task) } }
            }
            td.actions {
                @if schedule.function.is_some() {
                    (button(visit, "run_schedule", &on))
                    @if schedule.paused { (button(visit, "resume_schedule", &on)) }
                    @else { (button(visit, "pause_schedule", &on)) }
                }
            }
        }
    }
}
