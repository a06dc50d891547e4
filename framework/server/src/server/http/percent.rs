//! Percent-encoded text of a URL: `%2F`, and in a query `+` for a space.

use percent_encoding::percent_decode_str;

/// The decoded text; `None` when a `%` is not followed by two digits, or the text is not UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let is_digit = |byte: &u8| byte.is_ascii_hexdigit();
    let mut escapes = text.split('%').skip(1);
    let is_whole = escapes.all(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(is_digit));
    let decoded = is_whole.then(|| percent_decode_str(text).decode_utf8().ok())??;
    Some(decoded.into_owned())
}

/// The name and the value of each field of a query; `None` for one that cannot be decoded.
pub(super) fn fields(query: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_refuses_what_is_broken() {
        assert_eq!(decode("a%2Fb%e4%bd%a0+c").as_deref(), Some("a/b\u{4f60}+c"));
        for broken in ["%", "%2", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn fields_are_decoded_one_by_one() {
        let field = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        let found: Vec<_> = fields("a=1&&b&c=x+y%26=&%").collect();
        assert_eq!(found, [field("a", "1"), field("b", ""), field("c", "x y&="), None]);
    }
}
