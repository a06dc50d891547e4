//! Translates serde's messages about a value into plain sentences.

use super::did_you_mean::did_you_mean;

/// The predicate of a sentence that begins with the key: `must be true or false, not the string "yes"`.
pub(super) fn explain(message: &str) -> String {
    let wrong = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = wrong.and_then(|rest| rest.split_once(", expected ")) {
        return format!("must be {}, not {}", expected_type(expected), found_value(found));
    }
    if let Some((found, expected)) =
        message.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "))
    {
        let near = did_you_mean(found.trim_matches('`'), expected.split('`').skip(1).step_by(2));
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return format!("must be {expected}, not {found}{near}");
    }
    if let Some(rest) = message.strip_prefix("unknown field `") {
        // The message quotes the wrong name, then the known ones.
        let mut names = rest.split('`').step_by(2);
        let wrong = names.next().unwrap_or_default();
        let known: Vec<_> = names.collect();
        return match did_you_mean(wrong, known.iter().copied()) {
            Some(near) => format!("has no setting `{wrong}`; did you mean `{near}`?"),
            None => format!("has no setting `{wrong}`; its settings are: {}", known.join(", ")),
        };
    }
    message.to_owned()
}

fn expected_type(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "a table",
        // The name of the type behind it is one of this program's own.
        table if table.starts_with("struct ") => "a table",
        other => other,
    }
}

fn found_value(found: &str) -> String {
    match found {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        value => {
            // serde's suffix of numbers beyond 64 bits.
            let value = value.trim_end_matches(" as i128").trim_end_matches(" as u128");
            format!("the {}", value.replacen("floating point", "number", 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explain_names_types_in_plain_words() {
        for (message, sentence) in [
            (
                "invalid type: string \"x\", expected u16",
                "must be a whole number from 0 to 65535, not the string \"x\"",
            ),
            ("invalid type: sequence, expected a boolean", "must be true or false, not a list"),
            (
                "unknown variant `htp`, expected one of `lines`, `http`",
                "must be one of `lines`, `http`, not `htp`; did you mean `http`?",
            ),
            ("unknown variant `x`, expected `text` or `json`", "must be `text` or `json`, not `x`"),
            (
                "invalid value: integer `9` as i128, expected u8",
                "must be a whole number from 0 to 255, not the integer `9`",
            ),
            (
                "unknown field `croon`, expected one of `cron`, `args`",
                "has no setting `croon`; did you mean `cron`?",
            ),
            (
                "unknown field `colour`, expected `cron` or `args`",
                "has no setting `colour`; its settings are: cron, args",
            ),
            ("invalid type: string \"x\", expected struct Listener", "must be a table, not the string \"x\""),
            ("must be a string", "must be a string"),
        ] {
            assert_eq!(explain(message), sentence);
        }
    }
}
