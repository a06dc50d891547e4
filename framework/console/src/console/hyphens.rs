//! Values that begin with a hyphen and cannot be options, such as `-5 degrees`.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// Writes the words so that clap takes those that begin with `-` but cannot be the name of an option for
/// values:
/// `--title "-5 degrees"` becomes `--title=-5 degrees`, and one that belongs to no option moves behind `--`.
pub(super) fn attach(command: &Command, words: &[OsString]) -> Vec<OsString> {
    let mut options = Vec::with_capacity(words.len());
    let mut behind: Vec<OsString> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            behind.extend(words.by_ref().cloned());
            break;
        }
        let is_odd = is_value(command, &text);
        if !is_odd && takes_value(command, &text) {
            options.extend(with_value(command, word, words.next()));
        } else if !is_odd && (text.starts_with('-') && text != "-" || behind.is_empty()) {
            options.push(word.clone());
        } else {
            // Behind the first such argument, the others have to keep their order.
            behind.push(word.clone());
        }
    }
    if !behind.is_empty() {
        options.push("--".into());
        options.extend(behind);
    }
    options
}

/// An option and its value, joined if clap would take the value for an option.
fn with_value(command: &Command, option: &OsStr, value: Option<&OsString>) -> Vec<OsString> {
    match value {
        Some(value) if is_value(command, &value.to_string_lossy()) => {
            // Only the long form has a separator; the short one is followed by its value.
            let mut joined = option.to_owned();
            joined.push(if option.to_string_lossy().starts_with("--") { "=" } else { "" });
            joined.push(value);
            vec![joined]
        }
        value => std::iter::once(option.to_owned()).chain(value.cloned()).collect(),
    }
}

/// Whether the word begins with a hyphen, and cannot be an option: one is `-x`, `-xVALUE` or `--name=VALUE`,
/// where the name begins with a letter, unless the command has a short option such as `-1`.
fn is_value(command: &Command, word: &str) -> bool {
    let Some(rest) = word.strip_prefix('-') else { return false };
    let name = rest.strip_prefix('-').unwrap_or(rest);
    match name.chars().next() {
        // `-` is standard input, and `--` the end of the options.
        None => false,
        Some(first) if !first.is_ascii_alphabetic() => {
            rest.starts_with('-') || command.get_arguments().all(|arg| arg.get_short() != Some(first))
        }
        Some(_) => {
            let name = name.split('=').next().unwrap_or_default();
            rest.starts_with('-') && name.contains(char::is_whitespace)
        }
    }
}

/// Whether the word is an option of the command whose value is the next word.
fn takes_value(command: &Command, word: &str) -> bool {
    let needs_value = |arg: &Arg| {
        arg.get_action().takes_values()
            && !arg.is_require_equals_set()
            && arg.get_num_args().is_none_or(|count| count.min_values() > 0)
    };
    let is_named = |arg: &&Arg| match (word.strip_prefix("--"), word.strip_prefix('-')) {
        (Some(long), _) => {
            arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
        }
        (None, Some(short)) => {
            let mut letters = short.chars();
            let only = letters.next().filter(|_| letters.next().is_none());
            only.is_some() && arg.get_short() == only
        }
        (None, None) => false,
    };
    command.get_arguments().find(is_named).is_some_and(needs_value)
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    fn attached(words: &[&str]) -> Vec<String> {
        let command = Command::new("test").args([
            Arg::new("title").long("title").alias("subject").short('t'),
            Arg::new("wait").long("wait").num_args(0..=1).require_equals(true),
            Arg::new("quiet").short('q').action(ArgAction::SetTrue),
            Arg::new("text"),
            Arg::new("more"),
        ]);
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        let attached = attach(&command, &words);
        let matches = command.no_binary_name(true).try_get_matches_from(&attached).ok();
        let Some(matches) = matches else { return vec!["error".to_owned()] };
        let value = |id| matches.get_one::<String>(id).cloned().unwrap_or_default();
        [value("title"), value("text"), value("more")].into()
    }

    #[test]
    fn attach_takes_a_word_that_cannot_be_an_option_for_a_value() {
        for title in ["-5 degrees", "-5", "--5", "- dash", "-- dash", "--- rule ---", "--two words"] {
            for option in ["--title", "--subject", "-t"] {
                assert_eq!(attached(&[option, title]), [title, "", ""], "{option} {title}");
            }
            assert_eq!(attached(&[title, "b", "--title", "a"]), ["a", title, "b"], "{title}");
            assert_eq!(attached(&["--wait", title, "-q"]), ["", title, ""], "{title}");
        }
    }

    #[test]
    fn attach_leaves_the_digits_that_are_options() {
        let command = Command::new("test").arg(Arg::new("one").short('1').action(ArgAction::SetTrue));
        assert_eq!(attach(&command, &["-1".into()]), ["-1"]);
        assert_eq!(attach(&command, &["-2".into()]), ["--", "-2"]);
    }

    #[test]
    fn attach_leaves_what_may_be_a_mistyped_option() {
        for wrong in ["--titel", "-x", "-x=5", "--titel=a b"] {
            assert_eq!(attached(&[wrong]), ["error"], "{wrong}");
            assert_eq!(attached(&["--title", wrong]), ["error"], "{wrong}");
        }
        assert_eq!(attached(&["--title", "-", "--", "-q", "b"]), ["-", "-q", "b"]);
    }
}
