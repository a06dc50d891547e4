//! What can be done on the pages: each action is a verb of the wire, says what it does, and to how many.

use framework_protocol::RequestError;
use framework_protocol::views::{ChangePreview, PreviewedTask, TaskSummary};
use framework_server::server::{PageFields, Scope};
use maud::{Markup, html};
use serde_json::Value;

use crate::format::{self, fill};
use crate::layout::{Screen, Section, form_key};
use crate::text::Texts;
use crate::visit::{FieldList, Visit, encode, own_address};

/// Something that can be done.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    verb: &'static str,
    /// The fields of the verb that say to what.
    fields: &'static [&'static str],
    /// The page asks before it does so.
    asks: bool,
    label: fn(&Texts) -> &'static str,
    about: fn(&Texts) -> &'static str,
}

impl Action {
    /// Whether it changes many tasks, whose number the page says before.
    fn is_bulk(&self) -> bool {
        ["flush_queue", "retry_failed", "forget_failed", "cancel_batch", "retry_batch"].contains(&self.name)
    }

    /// Whether it takes something away that does not come back by itself.
    fn is_destructive(&self) -> bool {
        ["cancel", "forget", "flush"].contains(&self.verb)
    }
}

macro_rules! actions {
    ($($name:ident: $verb:literal $fields:expr, $asks:literal, $about:ident;)*) => {
        pub(crate) static ACTIONS: &[Action] = &[$(Action {
            name: stringify!($name),
            verb: $verb,
            fields: &$fields,
            asks: $asks,
            label: |texts| texts.$name,
            about: |texts| texts.$about,
        }),*];
    };
}

actions! {
    cancel_task: "cancel" ["task"], true, cancel_task_about;
    retry_task: "retry" ["task"], false, retry_task_about;
    forget_task: "forget" ["task"], true, forget_task_about;
    cancel_batch: "cancel" ["batch"], true, cancel_batch_about;
    retry_batch: "retry" ["batch"], true, retry_batch_about;
    pause_queue: "pause" ["queue"], false, pause_queue_about;
    resume_queue: "resume" ["queue"], false, resume_queue_about;
    flush_queue: "flush" ["queue"], true, flush_queue_about;
    retry_failed: "retry" ["failed", "queue", "function", "cause"], true, retry_failed_about;
    forget_failed: "forget" ["failed", "queue", "function", "cause"], true, forget_failed_about;
    run_schedule: "run_schedule" ["schedule"], false, run_schedule_about;
    pause_schedule: "pause_schedule" ["schedule"], false, pause_schedule_about;
    resume_schedule: "resume_schedule" ["schedule"], false, resume_schedule_about;
    drain_worker: "drain" ["worker"], true, drain_worker_about;
    stop_change: "stop_change" ["change"], true, stop_change_about;
}

fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// The button of an action on this; nothing for who may not do it.
pub(crate) fn button(visit: &Visit, name: &str, on: &[(&str, &str)]) -> Markup {
    let Some(action) = find(name).filter(|_| visit.server.allows(Scope::Admin)) else { return html! {} };
    let texts = visit.texts;
    let method = if action.asks { "get" } else { "post" };
    let class = if action.is_destructive() { "danger" } else { "plain" };
    html! {
        form.inline method=(method) action="act" {
            @if !action.asks { (form_key(visit)) }
            input type="hidden" name="do" value=(action.name);
            @for (name, value) in on { input type="hidden" name=(name) value=(value); }
            input type="hidden" name="back" value=(address_without_notice(&visit.address));
            button class=(class) title=((action.about)(texts)) {
                ((action.label)(texts))
                @if action.asks { "…" }
            }
        }
    }
}

fn address_without_notice(address: &str) -> String {
    let Some((path, query)) = address.split_once('?') else { return address.to_owned() };
    let is_kept = |pair: &&str| !pair.starts_with("said=") && !pair.starts_with("count=");
    let kept: Vec<_> = query.split('&').filter(is_kept).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

fn unknown(name: Option<&str>) -> RequestError {
    RequestError::bad_request(format!("There is no action \"{}\".", name.unwrap_or_default()))
}

fn target(action: &Action, fields: &FieldList) -> PageFields {
    let mut target = fields.fields(action.fields);
    if let Some((_, value)) = target.iter_mut().find(|(name, _)| *name == "failed") {
        *value = Value::Bool(true);
    }
    target
}

/// The page that asks whether to do something, and says to how many.
///
/// # Errors
/// There is no such action, or what it would change cannot be counted.
pub(crate) async fn question(visit: &Visit) -> Result<Screen, RequestError> {
    let name = visit.query.get("do");
    let action = name.and_then(find).ok_or_else(|| unknown(name))?;
    let texts = visit.texts;
    let target = target(action, &visit.query);
    let preview = match action.is_bulk() {
        true => Some(preview(visit, action, &target).await?),
        false => None,
    };
    let what = describe(visit, action, &target, preview.as_ref()).await?;
    let back = own_address(visit.query.get("back").unwrap_or_default());
    let body = html! {
        div.card.ask {
            p.lead { (what) }
            @if let Some(ChangePreview { oldest: Some(oldest), newest: Some(newest), .. }) = &preview {
                p { (texts.first_task) ": " (previewed(oldest)) " · " (texts.last_task) ": " (previewed(newest)) }
            }
            p { ((action.about)(texts)) }
            form method="post" action="act" {
                (form_key(visit))
                input type="hidden" name="do" value=(action.name);
                @for (name, value) in &target {
                    input type="hidden" name=(name) value=(plain(value));
                }
                input type="hidden" name="back" value=(back);
                button.strong.danger[action.is_destructive()] autofocus { ((action.label)(texts)) }
                " "
                a.button href=(if back.is_empty() { "./" } else { back }) { (texts.no_back) }
            }
        }
    };
    Ok(Screen { title: (action.label)(texts).to_owned(), section: Section::Other, body })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The tasks that an action would change.
async fn preview(visit: &Visit, action: &Action, target: &PageFields) -> Result<ChangePreview, RequestError> {
    let mut fields = target.clone();
    fields.push(("dry_run", Value::Bool(true)));
    visit.call(action.verb, fields).await
}

fn previewed(task: &PreviewedTask) -> Markup {
    html! { a href=(format!("tasks/{}", task.id)) { (task.id) } ", " (format::moment(task.accepted_ms)) }
}

/// What an action would change, in words with its number.
async fn describe(
    visit: &Visit,
    action: &Action,
    target: &PageFields,
    preview: Option<&ChangePreview>,
) -> Result<String, RequestError> {
    let texts = visit.texts;
    let named = |name: &str| target.iter().find(|(known, _)| *known == name).map(|(_, value)| plain(value));
    let count = format::number(preview.map_or(0, |preview| preview.tasks));
    Ok(match action.name {
        "flush_queue" => fill(texts.waiting_in, &[&count, &named("queue").unwrap_or_default()]),
        "retry_failed" | "forget_failed" => match (named("cause"), named("queue")) {
            (Some(cause), _) => fill(texts.failed_of_cause, &[&count, &cause]),
            (None, Some(queue)) => fill(texts.failed_in, &[&count, &queue]),
            (None, None) => fill(texts.failed_in_all, &[&count]),
        },
        "cancel_batch" | "retry_batch" => {
            fill(texts.tasks_of_batch, &[&count, &named("batch").unwrap_or_default()])
        }
        "cancel_task" | "forget_task" => {
            let task: TaskSummary = visit.call("show", target.clone()).await?;
            fill(texts.one_task, &[&task.id.to_string(), &task.function, texts.state(task.state)])
        }
        "drain_worker" => fill(texts.one_worker, &[&named("worker").unwrap_or_default()]),
        _ => fill(texts.one_change, &[&named("change").unwrap_or_default()]),
    })
}

/// Does what the form says; the address to go on at, with what was done.
///
/// # Errors
/// The form is of no page of this session, there is no such action, or it is refused.
pub(crate) async fn act(visit: &Visit) -> Result<String, RequestError> {
    visit.server.check_form(visit.form.get("form_key").unwrap_or_default())?;
    let name = visit.form.get("do");
    let action = name.and_then(find).ok_or_else(|| unknown(name))?;
    let result: Value = visit.call(action.verb, target(action, &visit.form)).await?;
    let back = own_address(visit.form.get("back").unwrap_or_default());
    Ok(match action.name {
        "run_schedule" => format!("tasks/{}?said=run_schedule", result["task_id"]),
        "forget_task" => "tasks?said=forget_task".to_owned(),
        name => with_notice(back, name, result["tasks"].as_u64().or(result.as_u64())),
    })
}

/// An address with what was done.
fn with_notice(address: &str, name: &str, count: Option<u64>) -> String {
    let address = if address.is_empty() { "./" } else { address };
    let sign = if address.contains('?') { '&' } else { '?' };
    let count = count.map(|count| format!("&count={count}")).unwrap_or_default();
    format!("{address}{sign}said={}{count}", encode(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{CHINESE, ENGLISH};

    #[test]
    fn action_has_texts_in_both_languages() {
        for action in ACTIONS {
            for texts in [&ENGLISH, &CHINESE] {
                let said = [(action.label)(texts), (action.about)(texts)];
                assert!(said.iter().all(|text| !text.is_empty()), "{}", action.name);
                assert!(texts.notice(action.name).is_some(), "{}", action.name);
            }
        }
    }

    #[test]
    fn notice_stands_in_the_address_once() {
        let address = with_notice("tasks?state=failed", "retry_failed", Some(3));
        assert_eq!(address, "tasks?state=failed&said=retry_failed&count=3");
        assert_eq!(address_without_notice(&address), "tasks?state=failed");
        assert_eq!(address_without_notice("queues?said=pause_queue"), "queues");
    }
}
