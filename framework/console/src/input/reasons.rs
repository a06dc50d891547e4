//! The reasons why a text is no value, in words for whoever has typed it.

/// What parsers of the standard library say, and what is said instead.
const REASONS: [(&str, &str); 7] = [
    ("invalid digit found in string", "only digits are expected"),
    ("cannot parse integer from empty string", "a number is missing"),
    ("number too large to fit in target type", "the number is too large"),
    ("number too small to fit in target type", "the number is too small"),
    ("invalid float literal", "it is not a number"),
    ("cannot parse float from empty string", "a number is missing"),
    ("provided string was not `true` or `false`", "it is neither true nor false"),
];

/// The text of an error with the words of parsers replaced.
pub fn plain_reason(text: &str) -> String {
    REASONS.iter().fold(text.to_owned(), |text, (parser, plain)| text.replace(parser, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_reason_has_no_words_of_a_parser() {
        let errors = [
            "x".parse::<u8>().unwrap_err().to_string(),
            "".parse::<u8>().unwrap_err().to_string(),
            "999".parse::<u8>().unwrap_err().to_string(),
            "-999".parse::<i8>().unwrap_err().to_string(),
            "x".parse::<f64>().unwrap_err().to_string(),
            "".parse::<f64>().unwrap_err().to_string(),
            "x".parse::<bool>().unwrap_err().to_string(),
        ];
        for (error, (_, plain)) in errors.iter().zip(REASONS) {
            assert_eq!(plain_reason(&format!("bad: {error}")), format!("bad: {plain}"));
        }
    }
}
