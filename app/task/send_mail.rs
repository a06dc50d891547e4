//! Sends one mail, into a folder or to a mail server.

mod address;
mod folder;
mod mailer;
mod settings;
mod smtp;

use address::MailAddress;
use framework::prelude::*;
use lettre::Message;
use lettre::message::header::ContentType;
use mailer::{Delivery, Mailer};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// Send one mail
///
/// A server that refuses the mail for now (4xx) or cannot be reached is asked again; one that refuses it for good
/// (5xx) is not.
#[derive(Debug, Serialize, Deserialize, Task)]
#[serde(deny_unknown_fields)]
#[task(name = "send_mail", queue = "mail", attempts = 5, timeout = "30s")]
struct SendMail {
    /// Whom the mail is for: `ada@example.com` or `Ada <ada@example.com>`
    #[serde(alias = "to_email")]
    to: MailAddress,
    /// One line
    #[serde(default, deserialize_with = "one_line")]
    #[schemars(with = "String")]
    title: String,
    /// Plain text
    #[serde(alias = "contents")]
    content: String,
    /// Whom the mail is from: `from` in config/mail.toml if nothing is said
    #[serde(default, alias = "from_email", skip_serializing_if = "Option::is_none")]
    from: Option<MailAddress>,
}

/// What is told of a mail that was sent.
#[derive(Debug, Serialize)]
struct Receipt {
    /// Its `Message-ID`. All attempts of one task send the same, so that a receiver can tell a repeated mail from a
    /// new one.
    message_id: String,
    #[serde(flatten)]
    delivery: Delivery,
}

impl Handle for SendMail {
    type Output = Receipt;

    async fn handle(self, attempt: &Attempt) -> Result<Receipt> {
        let mailer = Mailer::of(attempt.config()).await?;
        let name = format!("{}-{:x}", attempt.id(), attempt.accepted_ms());
        let from = self.from.as_ref().unwrap_or(mailer.from());
        let message_id = format!("<{name}@{}>", from.ascii_domain().unwrap_or("localhost"));
        let mail = self.compose(from, message_id.clone())?;
        let delivery =
            mailer.deliver(&name, &mail).await.with_context(|| format!("the mail to {}", self.to))?;
        Ok(Receipt { message_id, delivery })
    }
}

impl SendMail {
    fn compose(&self, from: &MailAddress, message_id: String) -> Result<Message> {
        Message::builder()
            .from(from.mailbox())
            .to(self.to.mailbox())
            .subject(self.title.as_str())
            .message_id(Some(message_id))
            .header(ContentType::TEXT_PLAIN)
            .body(self.content.clone())
            .context("composing the mail")
    }
}

/// Header lines end where their text has a line end; what follows would pass for a header of its own.
fn one_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let title = String::deserialize(deserializer)?;
    match title.contains(char::is_control) {
        true => Err(D::Error::custom(format!("the title {title:?} is not one line of text"))),
        false => Ok(title),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<SendMail, String> {
        serde_json::from_str(json).map_err(|error: serde_json::Error| error.to_string())
    }

    fn composed(json: &str) -> String {
        let from = "think@localhost".parse().unwrap();
        let mail = parsed(json).unwrap().compose(&from, "<0@localhost>".into()).unwrap();
        String::from_utf8(mail.formatted()).unwrap()
    }

    #[test]
    fn the_field_names_of_other_clients_are_understood() {
        let queue =
            r#"{"from_email":"a@example.com","to_email":"b@example.com","title":"Hi","content":"Hello"}"#;
        let workers = r#"{"from":"a@example.com","to":"b@example.com","contents":"Hello"}"#;
        for json in [queue, workers] {
            let mail = parsed(json).unwrap();
            assert_eq!((mail.to.to_string(), mail.content.as_str()), ("b@example.com".into(), "Hello"));
            assert_eq!(mail.from.unwrap().to_string(), "a@example.com");
        }
    }

    #[test]
    fn a_bad_address_is_named_with_what_is_wrong_about_it() {
        let error = parsed(r#"{"to":"ada@","title":"Hi","content":"Hello"}"#).unwrap_err();
        assert!(error.starts_with("\"ada@\" is no mail address: "), "{error}");
        let error = parsed(r#"{"to":"ada","content":"Hello"}"#).unwrap_err();
        assert!(error.starts_with("\"ada\" is no mail address: "), "{error}");
    }

    #[test]
    fn a_title_of_two_lines_is_refused() {
        let error = parsed(r#"{"to":"ada@example.com","title":"Hi\r\nBcc: eve@example.com","content":""}"#)
            .unwrap_err();
        assert!(error.contains("is not one line of text"), "{error}");
    }

    #[test]
    fn a_line_end_in_an_address_adds_no_header() {
        for to in
            [r"Ada\r\nBcc: eve@example.com <ada@example.com>", r"ada@example.com\r\nBcc: eve@example.com"]
        {
            let Ok(mail) = parsed(&format!(r#"{{"to":"{to}","content":""}}"#)) else { continue };
            let from = "think@localhost".parse().unwrap();
            let mail = mail.compose(&from, "<0@localhost>".into()).unwrap();
            assert_eq!(mail.envelope().to().len(), 1);
            let text = String::from_utf8(mail.formatted()).unwrap();
            assert!(!text.contains("\nBcc:"), "{text}");
        }
    }

    #[test]
    fn titles_and_contents_may_be_in_any_script() {
        let text = composed(r#"{"to":"Ада <ada@example.com>","title":"Привет 🌍","content":"Grüße"}"#);
        assert!(text.is_ascii(), "{text}");
        assert!(text.contains("Subject: =?utf-8?b?"), "{text}");
        assert!(text.contains("Content-Type: text/plain; charset=utf-8"), "{text}");
        assert!(text.contains("\r\n\r\nR3LDvMOfZQ=="), "{text}");
    }
}
