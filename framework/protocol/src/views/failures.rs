//! Failed tasks by their cause: what the errors of a function have in common.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::task::TaskId;

/// The characters of an error that are looked at for its pattern.
const PATTERN_MAX: usize = 400;

/// The cause of a failure: a digest of the function and of the pattern of the error, which is the same in
/// every process. It is shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String")]
pub struct FailureCause(u64);

impl FailureCause {
    /// The cause of a failure of this function with an error of this [pattern](error_pattern).
    pub fn new(function: &str, pattern: &str) -> Self {
        // FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/): unlike those of the standard library,
        // it stays the same.
        let bytes = function.bytes().chain([0]).chain(pattern.bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |digest: u64, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// The error for a text that is no cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cause is 16 hexadecimal digits, as task:failures shows it")]
pub struct NotACause;

impl FromStr for FailureCause {
    type Err = NotACause;

    fn from_str(text: &str) -> Result<Self, NotACause> {
        let is_digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_digits).map(Self).ok_or(NotACause)
    }
}

impl Serialize for FailureCause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FailureCause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Which of the failed tasks: those for which each field that is there is theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureFilter {
    pub queue: Option<String>,
    pub function: Option<String>,
    pub cause: Option<FailureCause>,
}

impl FailureFilter {
    /// All failed tasks of a queue.
    pub fn of_queue(queue: impl Into<String>) -> Self {
        Self { queue: Some(queue.into()), ..Self::default() }
    }

    /// Whether it selects a failed task.
    pub fn selects(&self, queue: &str, function: &str, error: &str) -> bool {
        let is_cause = |cause| cause == FailureCause::new(function, &error_pattern(error));
        self.is_of(queue, function) && self.cause.is_none_or(is_cause)
    }

    /// Whether it may select a failed task of this function and queue, whatever its cause.
    pub fn is_of(&self, queue: &str, function: &str) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        is(&self.queue, queue) && is(&self.function, function)
    }
}

/// The failed tasks by their causes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureReport {
    /// The causes with most tasks first.
    pub groups: Vec<FailureGroup>,
    /// The number of failed tasks that were looked at, the newest ones.
    pub failed: u64,
    /// The number of those among them whose groups are not listed.
    pub unlisted: u64,
    /// `false` when there are more failed tasks than are looked at.
    pub is_complete: bool,
}

/// The failed tasks of one function that have the same cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureGroup {
    pub cause: FailureCause,
    pub function: String,
    /// What their errors have in common.
    pub pattern: String,
    #[serde(rename = "tasks")]
    pub count: u64,
    /// When the first and the last of them failed, in milliseconds since 1970.
    pub first_ms: u64,
    pub last_ms: u64,
    /// The last one, and its error, of which the end may be cut off.
    #[serde(rename = "last_task_id")]
    pub last_task: TaskId,
    pub error: String,
    /// The number of them on each day on which there were some, the oldest day first.
    pub days: Vec<FailureDay>,
}

/// The failures of one day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureDay {
    /// Its begin, in milliseconds since 1970.
    pub at_ms: u64,
    #[serde(rename = "tasks")]
    pub count: u64,
}

/// What an error has in common with others of its cause: its first line, in which quoted texts are `…`, and
/// words with a digit, such as numbers, ids and addresses, are `#`. At most 400 characters of an error count.
pub fn error_pattern(error: &str) -> String {
    let line = error.trim_start().lines().next().unwrap_or_default();
    let mut pattern = String::with_capacity(line.len().min(PATTERN_MAX));
    let mut letters = line.chars().take(PATTERN_MAX).peekable();
    while let Some(letter) = letters.next() {
        let is_word =
            |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | ':' | '@');
        let closing = closing_quote(letter);
        if closing.is_some_and(|closing| letters.clone().any(|other| other == closing)) {
            letters.by_ref().find(|other| Some(*other) == closing);
            pattern.push('…');
        } else if letter.is_alphanumeric() {
            let mut word = String::from(letter);
            while let Some(letter) = letters.next_if(is_word) {
                word.push(letter);
            }
            push_word(&mut pattern, &word);
        } else {
            pattern.push(letter);
        }
    }
    pattern
}

/// Adds a word, of which the punctuation at its end is none.
fn push_word(pattern: &mut String, word: &str) {
    let text = word.trim_end_matches(['.', ':', '-', '_', '@']);
    let is_varying = text.contains('@') || text.chars().any(char::is_numeric);
    pattern.push_str(if is_varying { "#" } else { text });
    pattern.push_str(&word[text.len()..]);
}

/// The quote that ends what this one begins.
fn closing_quote(letter: char) -> Option<char> {
    match letter {
        '"' | '\'' | '`' => Some(letter),
        '“' => Some('”'),
        '‘' => Some('’'),
        '«' => Some('»'),
        '「' => Some('」'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_is_the_same_for_other_numbers_ids_addresses_and_quotes() {
        let one = "user 17 of \"Ada's\" at 10.0.0.1:25 failed: 4f0c-99ab, mail to ada@example.com";
        let other = "user 18021 of \"Bob\" at mx2.local:587 failed: 77aa-0c1d, mail to b@x.org\n  at line 7";
        assert_eq!(error_pattern(one), error_pattern(other));
        assert_eq!(error_pattern(one), "user # of … at # failed: #, mail to #");
        assert_eq!(error_pattern("用户 17 不存在：「张三」"), error_pattern("用户 9 不存在：「李四」"));
        assert_ne!(error_pattern("connection refused"), error_pattern("connection reset"));
        assert_eq!(error_pattern("it's over."), "it's over.");
        assert_eq!(error_pattern(""), "");
    }

    #[test]
    fn pattern_of_a_long_error_is_bounded() {
        let long = "x".repeat(1_000_000);
        assert_eq!(error_pattern(&long).len(), PATTERN_MAX);
    }

    #[test]
    fn cause_is_read_as_it_is_shown_and_never_changes() {
        let cause = FailureCause::new("send_mail", "connection refused");
        assert_eq!(cause.to_string(), "017e8584352d4741");
        assert_eq!(cause.to_string().parse(), Ok(cause));
        assert_ne!(cause, FailureCause::new("send_sms", "connection refused"));
        for wrong in ["", "12", "+123456789abcdef", "0123456789abcdefg", "zzzzzzzzzzzzzzzz"] {
            assert_eq!(wrong.parse::<FailureCause>(), Err(NotACause), "{wrong}");
        }
    }

    #[test]
    fn filter_selects_what_all_of_its_fields_are_true_of() {
        let cause = FailureCause::new("mail", "no route to #");
        let filter = FailureFilter { cause: Some(cause), ..FailureFilter::of_queue("bulk") };
        assert!(filter.selects("bulk", "mail", "no route to 10.0.0.1"));
        assert!(!filter.selects("other", "mail", "no route to 10.0.0.1"));
        assert!(!filter.selects("bulk", "sms", "no route to 10.0.0.1"));
        assert!(!filter.selects("bulk", "mail", "no way to 10.0.0.1"));
        assert!(FailureFilter::default().selects("any", "thing", ""));
    }
}
