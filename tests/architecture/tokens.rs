//! Rust text as words, signs and strings, each with its line; comments are left out.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// A string, with its quotes.
    Text,
    /// `::`, or any other single character.
    Sign,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) line: usize,
}

impl Token<'_> {
    pub(super) fn is(&self, text: &str) -> bool {
        self.text == text
    }
}

pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let (mut rest, mut line, mut found) = (text, 1, Vec::new());
    while !rest.is_empty() {
        let (kind, length) = first(rest);
        let (text, after) = rest.split_at(length);
        found.extend(kind.map(|kind| Token { kind, text, line }));
        line += text.matches('\n').count();
        rest = after;
    }
    found
}

/// What is there without the items under `#[cfg(test)]`.
pub(super) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while let Some(token) = tokens.get(at) {
        let is_test = starts_with(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"]);
        if is_test {
            at = end_of_item(tokens, at);
        } else {
            kept.push(*token);
            at += 1;
        }
    }
    kept
}

/// What follows wherever these texts stand in a row.
pub(super) fn following<'a>(tokens: &[Token<'a>], texts: &[&str]) -> Vec<Token<'a>> {
    let is_behind = |at: &usize| starts_with(&tokens[at - texts.len()..], texts);
    (texts.len()..tokens.len()).filter(is_behind).map(|at| tokens[at]).collect()
}

/// Whether the tokens begin with these texts.
fn starts_with(tokens: &[Token<'_>], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.is(text))
}

/// Where an item ends that begins here: behind its `;` or closing brace.
fn end_of_item(tokens: &[Token<'_>], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The first piece of what is left, and how long it is; no kind is what says nothing.
fn first(rest: &str) -> (Option<Kind>, usize) {
    if rest.starts_with("//") {
        return (None, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (None, comment(rest));
    }
    if let Some(length) = string(rest) {
        return (Some(Kind::Text), length);
    }
    if let Some(length) = character(rest) {
        return (None, length);
    }
    let is_word = |letter: char| letter == '_' || letter.is_alphanumeric();
    match rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()) {
        0 if rest.starts_with("::") => (Some(Kind::Sign), 2),
        0 => {
            let sign = rest.chars().next().expect("what is left is not empty");
            ((!sign.is_whitespace()).then_some(Kind::Sign), sign.len_utf8())
        }
        length => (Some(Kind::Word), length),
    }
}

/// A comment between signs, which may hold others.
fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let left = &rest[at..];
        if left.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if left.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += left.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// `".."`, `b".."`, `r#".."#` and their like.
fn string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|letter| !matches!(letter, 'b' | 'c' | 'r'))?;
    let hashes = rest[prefix..].find(|letter| letter != '#')?;
    let inside = prefix + hashes + 1;
    if !rest[prefix + hashes..].starts_with('"') {
        return None;
    }
    if rest[..prefix].contains('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(rest[inside..].find(&end).map_or(rest.len(), |at| inside + at + end.len()));
    }
    (hashes == 0).then(|| inside + closed(&rest[inside..], '"'))
}

/// `'x'` or `'\n'`, but no lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let mut letters = inside.chars();
    let is_escaped = letters.next()? == '\\';
    (is_escaped || letters.next() == Some('\'')).then(|| 1 + closed(inside, '\''))
}

/// How far it is to behind the closing quote.
fn closed(inside: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in inside.char_indices() {
        if letter == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    inside.len()
}
