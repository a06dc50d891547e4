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

/// Why a text is no number with a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberError {
    /// There is no digit.
    Missing,
    TooLarge,
}

/// A number that may have a sign and be followed by anything, as C's `strtol` reads it.
pub(super) fn signed(text: &[u8]) -> Result<i64, NumberError> {
    let text = skip_spaces(text);
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return Err(NumberError::Missing);
    }
    let number = std::str::from_utf8(&digits[..count]).ok().and_then(|digits| digits.parse::<i64>().ok());
    number.map(|number| if is_negative { -number } else { number }).ok_or(NumberError::TooLarge)
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
        assert_eq!((signed(b" -1x"), signed(b"+7")), (Ok(-1), Ok(7)));
        assert_eq!((signed(b"x"), signed(b"")), (Err(NumberError::Missing), Err(NumberError::Missing)));
        assert_eq!(signed(b"99999999999999999999"), Err(NumberError::TooLarge));
    }
}
