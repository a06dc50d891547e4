//! One visit of a page: who asks for what, in which language.

use std::sync::Arc;

use framework_protocol::{ErrorCode, RequestError};
use framework_server::server::{PageFields, PageRequest, PageServer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::text::{CHINESE, ENGLISH, Texts};

/// The cookie of the language that was chosen.
pub(crate) const LANGUAGE_COOKIE: &str = "think_language";

/// The characters that a part of a path or a query keeps as they are.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One visit of a page.
pub(crate) struct Visit {
    pub(crate) server: Arc<dyn PageServer>,
    pub(crate) texts: &'static Texts,
    /// The parts of the path, decoded.
    pub(crate) path: Vec<String>,
    /// The fields of the query, and of the form that was sent.
    pub(crate) query: FieldList,
    pub(crate) form: FieldList,
    pub(crate) is_post: bool,
    /// The address of this page, below the folder of the pages.
    pub(crate) address: String,
}

impl Visit {
    pub(crate) fn new(request: &PageRequest, server: Arc<dyn PageServer>) -> Self {
        let query = match request.query.as_str() {
            "" => String::new(),
            query => format!("?{query}"),
        };
        let form = String::from_utf8_lossy(&request.form);
        Self {
            server,
            texts: texts(request),
            path: request.path.split('/').map(decode).collect(),
            query: FieldList::parse(&request.query),
            form: FieldList::parse(&form),
            is_post: request.is_post,
            address: format!("{}{query}", request.path),
        }
    }

    /// Another page as this visitor sees it.
    pub(crate) fn elsewhere(&self, address: &str) -> Self {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        Self {
            server: self.server.clone(),
            texts: self.texts,
            path: path.split('/').map(decode).collect(),
            query: FieldList::parse(query),
            form: FieldList::default(),
            is_post: false,
            address: address.to_owned(),
        }
    }

    /// The result of a verb.
    ///
    /// # Errors
    /// The errors of the verb; `internal` when its result is none of this type.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        fields: PageFields,
    ) -> Result<T, RequestError> {
        let result = self.server.call(verb, fields).await?;
        serde_json::from_str(result.get()).map_err(|error| {
            RequestError::new(ErrorCode::Internal, format!("The result of {verb} cannot be read: {error}."))
        })
    }

    /// Leads from this page to the folder of the pages, for `<base>`.
    pub(crate) fn base(&self) -> String {
        "../".repeat(self.path.len() - 1) + if self.path.len() == 1 { "./" } else { "" }
    }
}

/// The named values of a query or a form, in their order.
#[derive(Debug, Default)]
pub(crate) struct FieldList(Vec<(String, String)>);

impl FieldList {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        });
        Self(decoded.collect())
    }

    /// The first value of this name that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// The values of these names that are not empty, as fields of a verb; numbers where they are digits.
    pub(crate) fn fields(&self, names: &[&'static str]) -> PageFields {
        let value = |name: &'static str| {
            let text = self.get(name)?;
            let value = match text.parse::<u64>() {
                Ok(number) if NUMBERS.contains(&name) => Value::from(number),
                _ => Value::from(text),
            };
            Some((name, value))
        };
        names.iter().filter_map(|name| value(name)).collect()
    }
}

/// The fields of verbs that are numbers.
const NUMBERS: [&str; 7] = ["task", "batch", "before", "after", "limit", "change", "priority"];

/// The language that was chosen, or that the browser asks for first.
fn texts(request: &PageRequest) -> &'static Texts {
    let chosen = request.cookie(LANGUAGE_COOKIE);
    let asked = request.header("accept-language").and_then(|list| list.split([',', ';']).next());
    match chosen.or(asked) {
        Some(language) if language.trim().to_ascii_lowercase().starts_with("zh") => &CHINESE,
        _ => &ENGLISH,
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A text as a part of a path or a query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// An address below the folder of the pages; what leads elsewhere is the first page.
pub(crate) fn own_address(text: &str) -> &str {
    let (path, _) = text.split_once('?').unwrap_or((text, ""));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%/".contains(&byte);
    let is_own = path.bytes().all(is_plain) && !path.starts_with('/') && !path.contains("..");
    let is_whole = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['"', '\\', '<']);
    if is_own && is_whole { text } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_list_is_decoded() {
        let fields = FieldList::parse("state=failed&queue=&name=a+b%26%e4%bd%a0&bad=%ff&before=12");
        assert_eq!(fields.get("state"), Some("failed"));
        assert_eq!((fields.get("queue"), fields.get("name")), (None, Some("a b&你")));
        let expected = vec![("state", Value::from("failed")), ("before", Value::from(12))];
        assert_eq!(fields.fields(&["state", "queue", "before"]), expected);
    }

    #[test]
    fn own_address_leads_nowhere_else() {
        for own in ["", "tasks/12", "tasks?state=failed&before=12", "functions/a%20b"] {
            assert_eq!(own_address(own), own);
        }
        for foreign in
            ["//evil.test", "/x", "https://evil.test", "../x", "\\\\evil.test", "javascript:x", "a b", "a\nb"]
        {
            assert_eq!(own_address(foreign), "", "{foreign}");
        }
    }

    #[test]
    fn encoded_text_is_decoded_again() {
        for text in ["a b", "a/b?c=d&e", "你好", "\u{202e}<script>"] {
            assert_eq!(decode(&encode(text)), text);
        }
    }
}
