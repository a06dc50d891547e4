//! Sends a mail, to a folder or through a mail server.

mod address;
mod folder;
mod mailer;
mod settings;
mod smtp;
mod text;

use address::MailAddress;
use framework::prelude::*;
use lettre::Message;
use lettre::message::header::ContentType;
use lettre::message::{MessageBuilder, MultiPart};
use mailer::{Delivery, Mailer};
use serde::{Deserialize, Serialize};
use text::{Body, subject};

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
    #[serde(default, deserialize_with = "text::one_line")]
    #[schemars(with = "String")]
    title: String,
    /// Body, plain text
    #[serde(alias = "contents")]
    #[schemars(with = "String")]
    content: Body,
    /// Body as HTML, beside the plain text, which is shown where HTML is not
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    html: Option<Body>,
    /// Sender; by default `from` in config/mail.toml
    #[serde(default, alias = "from_email", skip_serializing_if = "Option::is_none")]
    from: Option<MailAddress>,
    /// Address for replies, if it is not that of the sender
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<MailAddress>,
    /// Further recipients
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cc: Vec<MailAddress>,
    /// Further recipients, whom the others do not see
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bcc: Vec<MailAddress>,
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
        let message_id = format!("<{name}@{}>", from.domain());
        let mail = self.compose(from, message_id.clone())?;
        let delivery =
            mailer.deliver(&name, &mail).await.with_context(|| format!("the mail to {}", self.to))?;
        Ok(Receipt { message_id, delivery })
    }
}

impl SendMail {
    fn compose(&self, from: &MailAddress, message_id: String) -> Result<Message> {
        let mail = self.headers(from).raw_header(subject(&self.title)?).message_id(Some(message_id));
        let content = self.content.to_string();
        let mail = match &self.html {
            Some(html) => mail.multipart(MultiPart::alternative_plain_html(content, html.to_string())),
            None => mail.header(ContentType::TEXT_PLAIN).body(content),
        };
        mail.context("composing the mail")
    }

    fn headers(&self, from: &MailAddress) -> MessageBuilder {
        let mail = Message::builder().from(from.mailbox()).to(self.to.mailbox());
        let mail = self.reply_to.iter().fold(mail, |mail, address| mail.reply_to(address.mailbox()));
        let mail = self.cc.iter().fold(mail, |mail, address| mail.cc(address.mailbox()));
        self.bcc.iter().fold(mail, |mail, address| mail.bcc(address.mailbox()))
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
    fn send_mail_accepts_the_field_names_of_other_clients() {
        let queue =
            r#"{"from_email":"a@example.com","to_email":"b@example.com","title":"Hi","content":"Hello"}"#;
        let workers = r#"{"from":"a@example.com","to":"b@example.com","contents":"Hello"}"#;
        for json in [queue, workers] {
            let mail = parsed(json).unwrap();
            assert_eq!(
                (mail.to.to_string(), mail.content.to_string()),
                ("b@example.com".into(), "Hello".into())
            );
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

    #[test]
    fn mail_has_further_recipients_of_whom_hidden_ones_are_only_in_the_envelope() {
        let json = r#"{"to":"a@example.com","cc":["b@example.com","Cleo <c@example.com>"],
            "bcc":["d@example.com"],"reply_to":"e@example.com","content":"Hello"}"#;
        let from = "think@localhost".parse().unwrap();
        let mail = parsed(json).unwrap().compose(&from, "<0@localhost>".into()).unwrap();
        let recipients: Vec<_> = mail.envelope().to().iter().map(ToString::to_string).collect();
        assert_eq!(recipients, ["a@example.com", "b@example.com", "c@example.com", "d@example.com"]);
        let text = String::from_utf8(mail.formatted()).unwrap();
        assert!(text.contains("Cc: b@example.com, Cleo <c@example.com>\r\n"), "{text}");
        assert!(text.contains("Reply-To: e@example.com\r\n") && !text.contains("d@example.com"), "{text}");
    }

    #[test]
    fn html_stands_beside_the_plain_text() {
        let text = composed(r#"{"to":"a@example.com","content":"Hello","html":"<b>Hello</b>"}"#);
        assert!(text.contains("Content-Type: multipart/alternative"), "{text}");
        assert!(text.find("text/plain").unwrap() < text.find("text/html").unwrap(), "{text}");
        assert!(text.contains("<b>Hello</b>"), "{text}");
    }

    #[test]
    fn content_has_no_bare_line_ends_and_no_nul() {
        let text = composed(r#"{"to":"a@example.com","content":"a\rb\r\nc\nd\r"}"#);
        assert!(text.ends_with("\r\n\r\na\r\nb\r\nc\r\nd\r\n"), "{text:?}");
        for field in ["content", "html"] {
            let json = format!(r#"{{"to":"a@example.com","content":"","{field}":"a\u0000b"}}"#);
            let json = if field == "content" { json.replacen(r#""content":"","#, "", 1) } else { json };
            let error = parsed(&json).unwrap_err();
            assert!(error.contains("character 2 is NUL, which no mail may contain"), "{error}");
        }
    }

    #[test]
    fn long_title_is_folded() {
        for title in ["x".repeat(1_500), "word ".repeat(300), "ü".repeat(1_500)] {
            let json = serde_json::json!({"to": "a@example.com", "title": title, "content": ""});
            let text = composed(&json.to_string());
            assert!(text.lines().all(|line| line.len() <= 78), "{text}");
        }
    }
}
