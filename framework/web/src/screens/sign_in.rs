//! Signing in with a token, and out.

use framework_protocol::RequestError;
use maud::html;

use crate::json_view::visible;
use crate::layout::{Screen, Section};
use crate::visit::{Visit, own_address};

/// The page to sign in at; after a refusal with its reason.
pub(super) fn show(visit: &Visit, refused: Option<&RequestError>) -> Screen {
    let texts = visit.texts;
    let sent = visit.form.get("to").or(visit.query.get("to")).unwrap_or_default();
    let body = html! {
        form.card.sign-in method="post" action="login" {
            p { (texts.sign_in_about) }
            @if let Some(error) = refused { p.error role="alert" { (visible(&error.message)) } }
            label.field { span { (texts.token) }
                input type="password" name="token" required autofocus autocomplete="current-password" spellcheck="false"; }
            input type="hidden" name="to" value=(own_address(sent));
            button.strong { (texts.sign_in) }
            p.faint { (texts.sign_in_advice) }
        }
    };
    Screen { title: texts.sign_in.to_owned(), section: Section::Other, body }
}

/// Signs in: the cookie and the address to go on at, or the page with what was wrong.
pub(crate) async fn sign_in(visit: &Visit) -> Result<(String, String), Screen> {
    let token = visit.form.get("token").unwrap_or_default().trim().to_owned();
    let to = own_address(visit.form.get("to").unwrap_or_default()).to_owned();
    let cookie = visit.server.sign_in(token).await.map_err(|error| show(visit, Some(&error)))?;
    Ok((cookie, if to.is_empty() { "./".to_owned() } else { to }))
}

/// Signs out; the cookie that is to be set.
///
/// # Errors
/// The form is of no page of this session.
pub(crate) fn sign_out(visit: &Visit) -> Result<String, RequestError> {
    visit.server.check_form(visit.form.get("form_key").unwrap_or_default())?;
    Ok(visit.server.sign_out())
}
