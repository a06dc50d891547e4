//! JSON that folds, whatever somebody has sent: escaped, and bounded in what it takes of a page.

use maud::{Markup, html};
use serde_json::Value;

use crate::format;
use crate::text::Texts;

/// The values of one document that are shown one by one; the rest is in the text of the whole.
const VALUES_MAX: usize = 1_000;
/// The characters of one text, and of the whole document as text, that are shown.
const TEXT_MAX: usize = 2_000;
const WHOLE_MAX: usize = 20_000;
/// Values deeper than this are shown as text.
const DEPTH_MAX: usize = 24;
/// Lists and objects up to this depth are open.
const OPEN_DEPTH: usize = 2;

/// A JSON document; says so where it is cut.
pub(crate) fn json(json: &str, texts: &Texts) -> Markup {
    let Ok(value) = serde_json::from_str::<Value>(json) else {
        return html! { pre.code { (cut(json, WHOLE_MAX)) } };
    };
    let mut writer = JsonWriter { left: VALUES_MAX };
    let view = writer.value(None, &value, 0);
    html! {
        div.json { (view) }
        @if writer.left == 0 {
            p.faint { (format::fill(texts.json_cut, &[&format::number(VALUES_MAX as u64), &format::bytes(json.len() as u64)])) }
        }
        @if value.is_object() || value.is_array() {
            details.raw { summary { (texts.as_text) } pre.code { (cut(json, WHOLE_MAX)) } }
        }
    }
}

/// A text, cut at so many characters with a note of what is left out.
pub(crate) fn cut(text: &str, limit: usize) -> Markup {
    match text.char_indices().nth(limit) {
        Some((end, _)) => {
            let rest = format::bytes((text.len() - end) as u64);
            html! { (visible(&text[..end])) span.faint { " … +" (rest) } }
        }
        None => html! { (visible(text)) },
    }
}

/// A text with characters shown that would otherwise hide, or turn the direction of what stands around it.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => shown.push(letter),
            _ if is_hidden(letter) => shown.push_str(&letter.escape_unicode().to_string()),
            _ => shown.push(letter),
        }
    }
    shown
}

/// Whether a character is not seen itself, but changes how others are.
pub(crate) fn is_hidden(letter: char) -> bool {
    let is_format = matches!(
        letter,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}'
    );
    is_format || letter.is_control()
}

struct JsonWriter {
    /// The number of values that are still shown.
    left: usize,
}

impl JsonWriter {
    /// A value behind its name, if it has one.
    fn value(&mut self, name: Option<&str>, value: &Value, depth: usize) -> Markup {
        let view = match value {
            Value::Null => html! { span.json-null { "null" } },
            Value::Bool(value) => html! { span.json-bool { (value) } },
            Value::Number(number) => html! { span.json-number { (number) } },
            Value::String(text) => html! { span.json-text { "\"" (cut(text, TEXT_MAX)) "\"" } },
            Value::Array(values) if values.is_empty() => html! { "[]" },
            Value::Object(fields) if fields.is_empty() => html! { "{}" },
            _ if depth >= DEPTH_MAX => html! { (cut(&value.to_string(), TEXT_MAX)) },
            Value::Array(values) => {
                let entries = values.iter().map(|value| (None, value));
                return self.entries(name, entries, ("[", "]"), values.len(), depth);
            }
            Value::Object(fields) => {
                let entries = fields.iter().map(|(name, value)| (Some(name.as_str()), value));
                return self.entries(name, entries, ("{", "}"), fields.len(), depth);
            }
        };
        html! { (named(name)) (view) }
    }

    fn entries<'a>(
        &mut self,
        name: Option<&str>,
        entries: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
        (open, close): (&str, &str),
        count: usize,
        depth: usize,
    ) -> Markup {
        let mut shown = Vec::new();
        for (name, value) in entries {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            shown.push(self.value(name, value, depth + 1));
        }
        html! {
            details open[depth < OPEN_DEPTH] {
                summary { (named(name)) (open) span.faint { " " (count) " " } (close) }
                ul { @for value in shown { li { (value) } } }
            }
        }
    }
}

fn named(name: Option<&str>) -> Markup {
    html! { @if let Some(name) = name { span.json-name { (cut(name, TEXT_MAX)) } ": " } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::ENGLISH;

    fn shown(text: &str) -> String {
        json(text, &ENGLISH).into_string()
    }

    #[test]
    fn json_is_escaped() {
        let shown =
            shown(r#"{"<script>alert(1)</script>":"</pre><img src=x onerror=1>","b":"\u202etxt.exe\u0007"}"#);
        assert!(!shown.contains("<script") && !shown.contains("<img"), "{shown}");
        assert!(shown.contains("\\u{202e}txt.exe\\u{7}"), "{shown}");
    }

    #[test]
    fn json_is_bounded() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(shown(&deep).len() < 20_000);
        let wide = serde_json::to_string(&vec!["x".repeat(100); 20_000]).unwrap();
        let wide = shown(&wide);
        assert!(wide.len() < 300_000 && wide.contains("1,000"), "{}", wide.len());
        let long = shown(&format!("\"{}\"", "你".repeat(700_000)));
        assert!(long.len() < 10_000 && long.contains("2.0 MB"), "{}", long.len());
    }
}
