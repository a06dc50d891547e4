//! Finds what a request asks for, and makes the response.

use std::sync::Arc;

use framework_protocol::{ErrorCode, RequestError};
use framework_server::server::{PageBody, PageRequest, PageResponse, PageServer, Pages, Scope};
use futures_util::future::BoxFuture;

use crate::layout::{self, Screen};
use crate::visit::{LANGUAGE_COOKIE, Visit, encode, own_address};
use crate::{actions, assets, live, screens};

const HTML: &str = "text/html; charset=utf-8";

/// What a page may load and do: only what is of this server, and no script or style within the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'";

/// The pages of a server.
pub(crate) struct Site;

impl Pages for Site {
    fn respond(
        self: Arc<Self>,
        request: PageRequest,
        server: Arc<dyn PageServer>,
    ) -> BoxFuture<'static, PageResponse> {
        Box::pin(async move {
            if let Some(asset) = assets::find(&request.path).filter(|_| !request.is_post) {
                return asset;
            }
            let visit = Visit::new(&request, server);
            match respond(&visit).await {
                Ok(response) => response,
                Err(error) => refuse(&visit, &error),
            }
        })
    }
}

async fn respond(visit: &Visit) -> Result<PageResponse, RequestError> {
    let parts: Vec<&str> = visit.path.iter().map(String::as_str).collect();
    match (visit.is_post, &parts[..]) {
        (true, ["login"]) => Ok(match screens::sign_in(visit).await {
            Ok((cookie, to)) => with_cookie(redirect(visit, &to), cookie),
            Err(screen) => page(visit, 401, &screen),
        }),
        (true, ["logout"]) => Ok(with_cookie(redirect(visit, "login"), screens::sign_out(visit)?)),
        (true, ["act"]) => Ok(redirect(visit, &actions::act(visit).await?)),
        (true, ["functions", name]) => Ok(match screens::send(visit, name).await? {
            Ok(to) => redirect(visit, &to),
            Err((status, screen)) => page(visit, status, &screen),
        }),
        (true, _) => Err(screens::nothing(&visit.path.join("/"))),
        (false, ["language"]) => Ok(choose_language(visit)),
        (false, ["live"]) if visit.server.allows(Scope::Inspect) => Ok(live::follow(visit)),
        (false, ["search"]) => Ok(redirect(visit, &search(visit.query.get("for").unwrap_or_default()))),
        (false, _) => Ok(page(visit, 200, &screens::show(visit).await?)),
    }
}

/// A page that says why something is refused, or the one to sign in at.
fn refuse(visit: &Visit, error: &RequestError) -> PageResponse {
    if error.code == ErrorCode::Unauthorized && !visit.is_post {
        return redirect(visit, &format!("login?to={}", encode(own_address(&visit.address))));
    }
    page(visit, layout::status(error.code), &layout::error(visit, error))
}

fn page(visit: &Visit, status: u16, screen: &Screen) -> PageResponse {
    PageResponse {
        status,
        media_type: HTML,
        headers: vec![
            ("content-security-policy", POLICY.to_owned()),
            ("referrer-policy", "same-origin".to_owned()),
            ("vary", "accept-language, cookie".to_owned()),
        ],
        body: PageBody::Whole(layout::document(visit, screen).into()),
    }
}

/// Leads to an address below the folder of the pages, relative to where the browser is.
fn redirect(visit: &Visit, to: &str) -> PageResponse {
    let to = format!("{}{}", visit.base(), to.strip_prefix("./").unwrap_or(to));
    PageResponse {
        status: 303,
        media_type: HTML,
        headers: vec![("location", to)],
        body: PageBody::Whole(Vec::new().into()),
    }
}

fn with_cookie(mut response: PageResponse, cookie: String) -> PageResponse {
    response.headers.push(("set-cookie", cookie));
    response
}

fn choose_language(visit: &Visit) -> PageResponse {
    let language = if visit.query.get("to") == Some("zh") { "zh" } else { "en" };
    let back = own_address(visit.query.get("back").unwrap_or_default());
    let cookie = format!("{LANGUAGE_COOKIE}={language}; Max-Age=31536000; SameSite=Lax");
    with_cookie(redirect(visit, back), cookie)
}

/// The page of a task by its number, or the tasks with a text in the function, the arguments or the error.
fn search(text: &str) -> String {
    match text.trim().trim_start_matches('#').parse::<u64>() {
        Ok(task) => format!("tasks/{task}"),
        Err(_) => format!("tasks?text={}", encode(text.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_finds_numbers_and_texts() {
        assert_eq!(search(" #12 "), "tasks/12");
        assert_eq!(search("send_mail&x"), "tasks?text=send_mail%26x");
    }
}
