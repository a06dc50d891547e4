//! "Did you mean": the known name that is most similar to a wrong one.

/// The name among `known` that is most similar to `wrong`, if one is similar enough.
///
/// Case, `_`, `-` and spaces do not count: `workerNum` is `worker_num`. Otherwise up to three in ten letters
/// may be swapped, missing, doubled or wrong. No name is similar to one of more than 256 bytes, so that a
/// client cannot make the comparison expensive.
pub fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILAR: f64 = 0.7;
    const LENGTH_MAX: usize = 256;
    if wrong.len() > LENGTH_MAX {
        return None;
    }
    let wrong = letters(wrong);
    known
        .into_iter()
        .filter(|name| name.len() <= LENGTH_MAX)
        .map(|name| (strsim::normalized_damerau_levenshtein(&wrong, &letters(name)), name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

fn letters(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["worker_num", "task_worker_num", "port", "host"];

    #[test]
    fn did_you_mean_finds_the_name_that_was_misspelt() {
        for (wrong, right) in [
            ("worker_numm", "worker_num"),
            ("workerNum", "worker_num"),
            ("task-worker-num", "task_worker_num"),
            ("prot", "port"),
        ] {
            assert_eq!(did_you_mean(wrong, KNOWN), Some(right), "{wrong}");
        }
    }

    #[test]
    fn did_you_mean_finds_nothing_for_another_word() {
        assert_eq!(did_you_mean("dispatch_mode", KNOWN), None);
        assert_eq!(did_you_mean("", KNOWN), None);
    }

    #[test]
    fn did_you_mean_compares_no_huge_names() {
        let huge = "x".repeat(257);
        assert_eq!(did_you_mean(&huge, [huge.as_str()]), None);
        assert_eq!(did_you_mean(&huge[1..], [huge.as_str(), &huge[2..]]), Some(&huge[2..]));
    }
}
