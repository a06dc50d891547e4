//! What all pages have around them: head, navigation, notices, and the list of keys.

use framework_protocol::{ErrorCode, RequestError};
use framework_server::server::Scope;
use maud::{DOCTYPE, Markup, html};

use crate::assets::{ICON, SCRIPT, STYLE};
use crate::format::{self, fill};
use crate::json_view::visible;
use crate::text::Texts;
use crate::visit::{Visit, encode};

/// What a page shows between its head and its end.
pub(crate) struct Screen {
    pub(crate) title: String,
    pub(crate) section: Section,
    pub(crate) body: Markup,
}

/// The sections of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Overview,
    Queues,
    Tasks,
    Failures,
    Batches,
    Schedules,
    Workers,
    Functions,
    Server,
    /// A page that stands in no section, such as one that asks, or says what went wrong.
    Other,
}

impl Section {
    const ALL: [Self; 9] = [
        Self::Overview,
        Self::Queues,
        Self::Tasks,
        Self::Failures,
        Self::Batches,
        Self::Schedules,
        Self::Workers,
        Self::Functions,
        Self::Server,
    ];

    pub(crate) fn name(self, texts: &Texts) -> &'static str {
        match self {
            Self::Overview => texts.overview,
            Self::Queues => texts.queues,
            Self::Tasks => texts.tasks,
            Self::Failures => texts.failures,
            Self::Batches => texts.batches,
            Self::Schedules => texts.schedules,
            Self::Workers => texts.workers,
            Self::Functions => texts.functions,
            Self::Server => texts.server,
            Self::Other => "",
        }
    }

    /// Its address, and the key that leads there behind a `g`.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::Overview | Self::Other => ("./", "o"),
            Self::Queues => ("queues", "q"),
            Self::Tasks => ("tasks", "t"),
            Self::Failures => ("failures", "f"),
            Self::Batches => ("batches", "b"),
            Self::Schedules => ("schedules", "s"),
            Self::Workers => ("workers", "w"),
            Self::Functions => ("functions", "n"),
            Self::Server => ("server", "v"),
        }
    }
}

/// The whole document. Its links are relative to the folder of the pages, wherever that is.
pub(crate) fn document(visit: &Visit, screen: &Screen) -> String {
    let texts = visit.texts;
    let live = format!("live?page={}", encode(&visit.address));
    let is_live = screen.section != Section::Other;
    let markup = html! {
        (DOCTYPE)
        html lang=(texts.language) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="same-origin";
                title { (screen.title) " · think" }
                base href=(visit.base());
                link rel="stylesheet" href=(STYLE.address());
                link rel="icon" href=(ICON.address());
                script src=(SCRIPT.address()) {}
            }
            body data-live=[is_live.then_some(live)] data-copy=(texts.copy) data-copied=(texts.copied) {
                a.skip href=(format!("{}#main", visit.address)) { (texts.skip) }
                (header(visit, screen.section))
                main #main tabindex="-1" { (main(visit, screen)) }
                (keys(texts))
            }
        }
    };
    markup.into_string()
}

/// The part of the document that is kept up to date.
pub(crate) fn main(visit: &Visit, screen: &Screen) -> Markup {
    html! {
        (notice(visit))
        h1 { (screen.title) }
        (screen.body)
    }
}

fn header(visit: &Visit, section: Section) -> Markup {
    let texts = visit.texts;
    html! {
        header.side {
            div.brand {
                a href="./" { img src=(ICON.address()) alt="" width="22" height="22"; "think" }
                span.live-state title=(texts.live_about) { i.dot {} span { (texts.live) } }
            }
            @if visit.server.allows(Scope::Inspect) {
                form.search action="search" role="search" {
                    input type="search" name="for" placeholder=(texts.search_hint) aria-label=(texts.search)
                        data-key="/" autocomplete="off";
                }
                nav aria-label=(texts.navigation) {
                    @for entry in Section::ALL {
                        @let (place, key) = entry.place();
                        a href=(place) data-key=(format!("g {key}"))
                            aria-current=[(entry == section).then_some("page")] { (entry.name(texts)) }
                    }
                }
            }
            div.tools {
                @let other = format!("language?to={}&back={}", texts.other_language, encode(&visit.address));
                a href=(other) lang=(texts.other_language) { (texts.other_language_name) }
                button.quiet type="button" data-theme-switch hidden { (texts.theme) }
                button.quiet type="button" data-keys hidden { (texts.keys) " ?" }
                @if visit.server.requires_token() && (section != Section::Other || visit.server.allows(Scope::Inspect)) {
                    form method="post" action="logout" {
                        (form_key(visit))
                        button.quiet { (texts.sign_out) }
                    }
                }
            }
        }
    }
}

/// The field by which a form shows that it is from a page of this session.
pub(crate) fn form_key(visit: &Visit) -> Markup {
    html! { input type="hidden" name="form_key" value=(visit.server.form_key()); }
}

/// What the last action has done, as the address says.
fn notice(visit: &Visit) -> Markup {
    let Some(said) = visit.query.get("said").and_then(|said| visit.texts.notice(said)) else {
        return html! {};
    };
    let count = visit.query.get("count").and_then(|count| count.parse::<u64>().ok());
    let count = count.map(format::number).unwrap_or_default();
    html! { p.notice role="status" { (fill(said, &[&count])) } }
}

fn keys(texts: &Texts) -> Markup {
    let sections = Section::ALL.map(|section| (format!("g {}", section.place().1), section.name(texts)));
    let others = [
        ("/", texts.key_search),
        ("j k", texts.key_rows),
        ("Enter", texts.key_open),
        ("t", texts.theme),
        ("?", texts.key_list),
        ("Esc", texts.key_close),
    ];
    html! {
        dialog #keys aria-label=(texts.keys) {
            h2 { (texts.keys) }
            dl {
                @for (key, what) in others {
                    div { dt { kbd { (key) } } dd { (what) } }
                }
                @for (key, what) in sections {
                    div { dt { kbd { (key) } } dd { (what) } }
                }
            }
            form method="dialog" { button { (texts.close) } }
        }
    }
}

/// What stands where there is nothing to show, with what would change that.
pub(crate) fn empty(text: &str, advice: &str) -> Markup {
    html! { div.empty { p { (text) } @if !advice.is_empty() { p.faint { (advice) } } } }
}

/// A page that says what went wrong.
pub(crate) fn error(visit: &Visit, error: &RequestError) -> Screen {
    let texts = visit.texts;
    let title = match error.code {
        ErrorCode::Forbidden => texts.error_forbidden,
        ErrorCode::UnknownTask | ErrorCode::UnknownFunction | ErrorCode::UnknownQueue => texts.error_unknown,
        ErrorCode::ShuttingDown | ErrorCode::Busy | ErrorCode::StorageFailed | ErrorCode::StorageFull => {
            texts.error_unavailable
        }
        _ => texts.error_refused,
    };
    let body = html! {
        div.card.bad { p { (visible(&error.message)) }
            @if let Some(suggestion) = &error.suggestion { p { (texts.did_you_mean) " " code { (suggestion) } } }
        }
        p { a href="./" { (texts.back_to_overview) } }
    };
    Screen { title: title.to_owned(), section: Section::Other, body }
}

/// The status of the response that says what went wrong.
pub(crate) fn status(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::Unauthorized => 401,
        ErrorCode::Forbidden => 403,
        ErrorCode::UnknownTask | ErrorCode::UnknownFunction | ErrorCode::UnknownCommand => 404,
        ErrorCode::Conflict | ErrorCode::KeyConflict | ErrorCode::SchemaConflict => 409,
        ErrorCode::TooLong => 413,
        ErrorCode::BadArguments | ErrorCode::TooDeep => 422,
        ErrorCode::Internal => 500,
        ErrorCode::Busy
        | ErrorCode::ShuttingDown
        | ErrorCode::StorageFailed
        | ErrorCode::TooManyConnections => 503,
        ErrorCode::StorageFull => 507,
        _ => 400,
    }
}
