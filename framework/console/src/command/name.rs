//! The rule for names of commands.

/// A name that is not valid for a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a valid command name: use parts of lower case letters, digits and `-`, each beginning with a letter, joined by `:`, such as `demo:hello`"
)]
pub struct BadName(pub String);

/// Checks a name such as `task:start`.
///
/// `#[derive(Command)]` checks the same at compile time.
///
/// # Errors
/// When it does not consist of lower case parts joined by `:`.
pub fn check_name(name: &str) -> Result<(), BadName> {
    if name.split(':').all(is_part) { Ok(()) } else { Err(BadName(name.to_owned())) }
}

fn is_part(part: &str) -> bool {
    part.starts_with(|first: char| first.is_ascii_lowercase())
        && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_name_accepts_lower_case_parts_joined_by_colons() {
        for good in ["list", "task:start", "make:service-unit", "a:b:c2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "Task:start", "task:", ":start", "task start", "task_start", "2fa", "-q", "tâche"] {
            assert_eq!(check_name(bad), Err(BadName(bad.to_owned())));
        }
    }
}
