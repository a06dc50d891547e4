//! Numbers as beanstalkd reads them from a command.

/// A number behind spaces, and what follows it; `None` for anything else or one that is too large.
pub(super) fn leading<T: TryFrom<u64>>(text: &[u8]) -> Option<(T, &[u8])> {
    let text = skip_spaces(text);
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok()?.parse::<u64>().ok()?;
    Some((T::try_from(number).ok()?, &text[digits..]))
}

/// A number that ends the command.
pub(super) fn last<T: TryFrom<u64>>(text: &[u8]) -> Option<T> {
    leading(text).and_then(|(number, rest)| rest.is_empty().then_some(number))
}

/// A number that may have a sign and be followed by anything, as C's `strtol` reads it; `None` where there is
/// no digit. One that is too large is the largest.
pub(super) fn signed(text: &[u8]) -> Option<i64> {
    let text = skip_spaces(text);
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let number = std::str::from_utf8(&digits[..count]).ok()?.parse::<i64>().unwrap_or(i64::MAX);
    Some(if is_negative { -number } else { number })
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    &text[spaces..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_reads_a_number_of_its_type_behind_spaces() {
        assert_eq!(leading::<u32>(b"  4294967295 x"), Some((u32::MAX, &b" x"[..])));
        for wrong in [&b""[..], b"x", b"-1", b"+1", b"4294967296", b"99999999999999999999"] {
            assert_eq!(leading::<u32>(wrong), None, "{wrong:?}");
        }
        assert_eq!((last::<u64>(b" 7"), last::<u64>(b"7 "), last::<u64>(b"7x")), (Some(7), None, None));
    }

    #[test]
    fn signed_reads_as_far_as_there_are_digits() {
        assert_eq!(
            (signed(b" -1x"), signed(b"+7"), signed(b"x"), signed(b"")),
            (Some(-1), Some(7), None, None)
        );
        assert_eq!(signed(b"99999999999999999999"), Some(i64::MAX));
    }
}
