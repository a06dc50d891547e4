//! `markup!`: turns tags within a format string into colours.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Error, LitStr, Result, Token};

/// The tags, and the styles of `framework::output::Style` that they stand for.
const TAGS: [(&str, &str); 6] = [
    ("info", "Info"),
    ("comment", "Comment"),
    ("question", "Question"),
    ("error", "Error"),
    ("highlight", "Highlight"),
    ("warning", "Alert"),
];

/// The format string and the rest of the arguments.
pub(crate) struct Markup {
    text: LitStr,
    arguments: TokenStream,
}

impl Parse for Markup {
    fn parse(input: ParseStream) -> Result<Self> {
        let text = input.parse()?;
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
        Ok(Self { text, arguments: input.parse()? })
    }
}

pub(crate) fn expand(Markup { text, arguments }: Markup) -> Result<TokenStream> {
    let Converted { format, used } =
        convert(&text.value()).map_err(|reason| Error::new(text.span(), reason))?;
    let format = LitStr::new(&format, text.span());
    let paints = used.into_iter().map(|tag| {
        let (name, style) = (argument(TAGS[tag].0), Ident::new(TAGS[tag].1, Span::call_site()));
        quote!(#name = ::framework::output::Paint::of(::framework::output::Style::#style))
    });
    let arguments = if arguments.is_empty() { arguments } else { with_comma(arguments) };
    Ok(quote!(::core::format_args!(#format, #arguments #(#paints),*)))
}

fn with_comma(arguments: TokenStream) -> TokenStream {
    let ends_with_comma = arguments.clone().into_iter().last().is_some_and(|last| last.to_string() == ",");
    if ends_with_comma { arguments } else { quote!(#arguments,) }
}

/// The name of the argument that is the colour of a tag.
fn argument(tag: &str) -> Ident {
    format_ident!("think_{tag}")
}

struct Converted {
    format: String,
    /// The places of the tags in [`TAGS`].
    used: BTreeSet<usize>,
}

/// Replaces tags by arguments.
///
/// # Errors
/// The text says which tag is unknown, not open, or not closed.
fn convert(text: &str) -> std::result::Result<Converted, String> {
    let mut converted = Converted { format: String::new(), used: BTreeSet::new() };
    let mut open: Vec<usize> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        if let Some(escaped) = before.strip_suffix('\\') {
            converted.format.push_str(escaped);
            converted.format.push('<');
            rest = &tag[1..];
            continue;
        }
        converted.format.push_str(before);
        match tag_of(tag) {
            None => {
                converted.format.push('<');
                rest = &tag[1..];
            }
            Some((name, behind)) => {
                converted.add(name, &mut open)?;
                rest = behind;
            }
        }
    }
    converted.format.push_str(rest);
    match open.last() {
        Some(tag) => Err(format!("<{0}> is not closed: write </{0}>", TAGS[*tag].0)),
        None => Ok(converted),
    }
}

impl Converted {
    fn add(&mut self, name: &str, open: &mut Vec<usize>) -> std::result::Result<(), String> {
        let Some(closed) = name.strip_prefix('/') else {
            let tag = TAGS.iter().position(|(tag, _)| *tag == name).ok_or_else(|| unknown(name))?;
            open.push(tag);
            self.push(tag, false);
            return Ok(());
        };
        match open.pop() {
            Some(tag) if closed.is_empty() || TAGS[tag].0 == closed => self.push(tag, true),
            Some(tag) => return Err(format!("</{closed}> stands where </{}> is due", TAGS[tag].0)),
            None => return Err(format!("</{closed}> closes nothing")),
        }
        if let Some(outer) = open.last() {
            self.push(*outer, false);
        }
        Ok(())
    }

    fn push(&mut self, tag: usize, ends: bool) {
        self.used.insert(tag);
        let flag = if ends { ":#" } else { "" };
        self.format.push_str(&format!("{{{}{flag}}}", argument(TAGS[tag].0)));
    }
}

/// The name in a tag, and the text behind it; `None` if it is none, such as `<NAME>` and `a < b`.
fn tag_of(text: &str) -> Option<(&str, &str)> {
    let (name, behind) = text[1..].split_once('>')?;
    let letters = name.strip_prefix('/').unwrap_or(name);
    let is_tag = !name.is_empty() && letters.chars().all(|letter| letter.is_ascii_lowercase());
    is_tag.then_some((name, behind))
}

fn unknown(name: &str) -> String {
    let tags: Vec<_> = TAGS.iter().map(|(tag, _)| format!("<{tag}>")).collect();
    format!("<{name}> is not one of {}; write \\\\<{name}> for the text itself", tags.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> std::result::Result<String, String> {
        convert(text).map(|converted| converted.format)
    }

    #[test]
    fn convert_makes_arguments_of_tags() {
        assert_eq!(
            format("<info>{}</info> and <error>no</>").unwrap(),
            "{think_info}{}{think_info:#} and {think_error}no{think_error:#}"
        );
        assert_eq!(
            format("<info>a<comment>b</>c</info>").unwrap(),
            "{think_info}a{think_comment}b{think_comment:#}{think_info}c{think_info:#}"
        );
        assert_eq!(format("a < b, <NAME>, \\<info>, <>").unwrap(), "a < b, <NAME>, <info>, <>");
    }

    #[test]
    fn convert_names_what_is_wrong_with_a_tag() {
        for (text, reason) in [
            ("<inf>x</>", "<inf> is not one of <info>, <comment>"),
            ("<info>x", "<info> is not closed: write </info>"),
            ("<info><error>x</info>", "</info> stands where </error> is due"),
            ("x</info>", "</info> closes nothing"),
        ] {
            let error = format(text).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
