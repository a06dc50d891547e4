//! Reads what a URL holds: `%2F`, and `+` for a space.

/// The text behind a percent-encoded one; `None` when a `%` is not followed by two digits, or it is no UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let [high, low, after @ ..] = tail else { return None };
            bytes.push(digit(*high)? << 4 | digit(*low)?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The name and the value of each field of a query.
pub(super) fn fields(query: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_read_and_what_is_broken_is_not() {
        assert_eq!(decode("a%2Fb%e4%bd%a0+c").as_deref(), Some("a/b\u{4f60}+c"));
        for broken in ["%", "%2", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_query_is_a_list_of_fields() {
        let field = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        let found: Vec<_> = fields("a=1&&b&c=x+y%26=&%").collect();
        assert_eq!(found, [field("a", "1"), field("b", ""), field("c", "x y&="), None]);
    }
}
