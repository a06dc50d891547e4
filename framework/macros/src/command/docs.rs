//! Doc comments with lists and examples, whose line ends clap would replace by spaces.

use syn::{Attribute, Data, DeriveInput, Expr, ExprLit, Field, Lit, Meta, Token, punctuated::Punctuated};

/// The texts of the doc comments that clap would spoil: that of the command, whose name is empty, and those
/// of its fields.
pub(super) fn formatted(input: &DeriveInput) -> Vec<(String, String)> {
    let own = (!has_option(&input.attrs, "command", &["about", "long_about", "verbatim_doc_comment"]))
        .then(|| format(&lines(&input.attrs)))
        .flatten()
        .map(|text| (String::new(), text));
    let fields: Vec<&Field> = match &input.data {
        Data::Struct(data) => data.fields.iter().collect(),
        _ => Vec::new(),
    };
    own.into_iter().chain(fields.into_iter().filter_map(of_field)).collect()
}

fn of_field(field: &Field) -> Option<(String, String)> {
    let name = field.ident.as_ref()?.to_string();
    if has_option(&field.attrs, "arg", &["help", "long_help", "verbatim_doc_comment", "id"]) {
        return None;
    }
    Some((name.trim_start_matches("r#").to_owned(), format(&lines(&field.attrs))?))
}

fn has_option(attributes: &[Attribute], list: &str, names: &[&str]) -> bool {
    let lists = attributes.iter().filter(|attribute| attribute.path().is_ident(list));
    let options =
        lists.filter_map(|list| list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok());
    options.flatten().any(|option| names.iter().any(|name| option.path().is_ident(name)))
}

/// The lines of a doc comment, without the space behind the slashes.
fn lines(attributes: &[Attribute]) -> Vec<String> {
    let texts = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    texts
        .flat_map(|text| text.split('\n').map(str::to_owned).collect::<Vec<_>>())
        .map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
        .collect()
}

/// The text, if it has a list or an example: each of their lines stays one, and other paragraphs become one
/// line.
fn format(lines: &[String]) -> Option<String> {
    let mut text = String::new();
    let (mut is_special, mut in_fence, mut in_item, mut joins) = (false, false, false, false);
    for line in lines {
        if line.trim_start().starts_with("```") {
            (in_fence, is_special, joins) = (!in_fence, true, false);
            continue;
        }
        let is_item = !in_fence && is_item(line.trim_start());
        let is_code = in_fence || !in_item && line.starts_with("    ");
        is_special |= is_item || is_code;
        if line.is_empty() {
            (in_item, joins) = (in_item && in_fence, false);
            text.push('\n');
        } else if is_item || is_code || !joins {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(line);
            (in_item, joins) = (is_item, !is_code);
        } else {
            text.push(' ');
            text.push_str(line.trim_start());
        }
        if line.is_empty() && !text.ends_with("\n\n") {
            text.push('\n');
        }
    }
    is_special.then(|| text.trim_end().to_owned())
}

/// Whether the line begins an item of a list: `- one`, `* one`, `1. one`.
fn is_item(line: &str) -> bool {
    let number = line.trim_start_matches(|digit: char| digit.is_ascii_digit());
    line.starts_with("- ") || line.starts_with("* ") || number.len() < line.len() && number.starts_with(". ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &str) -> Option<String> {
        format(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn format_keeps_the_lines_of_lists_and_examples() {
        let text = "Do it\n\nIn one\nof two ways:\n- the first,\n  which is long\n- the second\n\nLike this:\n\n    think do\n    think redo\n\nThe\nend.";
        let kept = "Do it\n\nIn one of two ways:\n- the first, which is long\n- the second\n\nLike this:\n\n    think do\n    think redo\n\nThe end.";
        assert_eq!(formatted(text).as_deref(), Some(kept));
        assert_eq!(formatted("See\n```\na\n\n b\n```\nend").as_deref(), Some("See\na\n\n b\nend"));
    }

    #[test]
    fn format_leaves_plain_text_to_clap() {
        assert_eq!(formatted("Do it\n\nIn one way - this one.\n2.5 times."), None);
    }
}
