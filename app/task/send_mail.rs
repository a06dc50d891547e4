//! Sends a mail, to a folder or through a mail server.

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
/// A temporary error of the mail server (4xx), or a connection that fails, is retried; a permanent error
/// (5xx) is not.
#[derive(Debug, Serialize, Deserialize, Task)]
#[serde(deny_unknown_fields)]
#[task(name = "send_mail", queue = "mail", attempts = 5, timeout = "30s")]
struct SendMail {
    /// Recipient: `ada@example.com` or `Ada <ada@example.com>`
    #[serde(alias = "to_email")]
    to: MailAddress,
    /// Subject, one line
    #[serde(default, deserialize_with = "one_line")]
    #[schemars(with = "String")]
    title: String,
    /// Body, plain text
    #[serde(alias = "contents")]
    content: String,
    /// Sender; by default `from` in config/mail.toml
    #[serde(default, alias = "from_email", skip_serializing_if = "Option::is_none")]
    from: Option<MailAddress>,
}

/// The result of a mail that was sent.
#[derive(Debug, Serialize)]
struct Receipt {
    /// The `Message-ID`. It is the same for all attempts of a task, so that a receiver can recognize a
    /// repeated mail.
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

/// Rejects line ends in the subject, with which a client could inject headers.
fn one_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let title = String::deserialize(deserializer)?;
    if title.contains(char::is_control) {
        return Err(D::Error::custom(format!("the title {title:?} is not one line of text")));
    }
    Ok(title)
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
    fn send_mail_accepts_the_field_names_of_other_clients() {
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
    fn bad_address_is_explained() {
        let error = parsed(r#"{"to":"ada@","title":"Hi","content":"Hello"}"#).unwrap_err();
        assert!(error.starts_with("\"ada@\" is not a mail address: "), "{error}");
        let error = parsed(r#"{"to":"ada","content":"Hello"}"#).unwrap_err();
        assert!(error.starts_with("\"ada\" is not a mail address: "), "{error}");
    }

    #[test]
    fn title_of_two_lines_is_refused() {
        let error = parsed(r#"{"to":"ada@example.com","title":"Hi\r\nBcc: eve@example.com","content":""}"#)
            .unwrap_err();
        assert!(error.contains("is not one line of text"), "{error}");
    }

    #[test]
    fn line_end_in_an_address_adds_no_header() {
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
    fn title_and_content_may_be_in_any_script() {
        let text = composed(r#"{"to":"Ада <ada@example.com>","title":"Привет 🌍","content":"Grüße"}"#);
        assert!(text.is_ascii(), "{text}");
        assert!(text.contains("Subject: =?utf-8?b?"), "{text}");
        assert!(text.contains("Content-Type: text/plain; charset=utf-8"), "{text}");
        assert!(text.contains("\r\n\r\nR3LDvMOfZQ=="), "{text}");
    }
}
