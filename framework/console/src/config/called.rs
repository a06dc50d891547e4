//! How the program was called, for hints that somebody can type again.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Pid, getppid};

/// Set by the launcher for the process that it becomes, and by the program for the processes that it starts
/// of itself: the pid of who has set it, a colon, and how the program was called.
pub(super) const CALLED: &str = "THINK_CALLED";

/// How the program was called: `./think`, `think`, or another path to it.
#[expect(clippy::disallowed_methods, reason = "this is where `config` reads the environment")]
pub fn called() -> &'static str {
    static CALL: OnceLock<String> = OnceLock::new();
    CALL.get_or_init(|| {
        let setters = [std::process::id() as i32, Pid::as_raw(getppid())];
        let set = env::var(CALLED).ok().and_then(|value| of_setter(&value, &setters));
        set.or_else(|| plain(env::args_os().next()?)).unwrap_or_else(|| "think".to_owned())
    })
}

/// The name of the program's file, as it was called by.
pub fn file_name() -> Option<&'static str> {
    static NAME: OnceLock<Option<String>> = OnceLock::new();
    let name = NAME.get_or_init(|| {
        let call = env::args_os().next()?;
        plain(Path::new(&call).file_name()?.to_owned())
    });
    name.as_deref()
}

/// Makes another process of this program give hints as this one does.
pub fn pass_call(command: &mut Command) -> &mut Command {
    command.env(CALLED, format!("{}:{}", std::process::id(), called()))
}

/// The call in the variable, if this process or its parent has set it: another may be another program.
fn of_setter(value: &str, setters: &[i32]) -> Option<String> {
    let (setter, call) = value.split_once(':')?;
    let setter: i32 = setter.parse().ok()?;
    if setters.contains(&setter) { plain(call.into()) } else { None }
}

/// A call that needs no quotes.
fn plain(call: OsString) -> Option<String> {
    let call = call.into_string().ok()?;
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+@".contains(letter);
    (!call.is_empty() && call.chars().all(is_plain)).then_some(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_setter_takes_the_call_of_this_process_or_its_parent() {
        assert_eq!(of_setter("12:./think", &[12, 7]).as_deref(), Some("./think"));
        assert_eq!(of_setter("7:think", &[12, 7]).as_deref(), Some("think"));
        assert_eq!(of_setter("9:think", &[12, 7]), None);
        assert_eq!(of_setter("12:", &[12]), None);
        assert_eq!(of_setter("12:./my think", &[12]), None, "it would need quotes");
    }
}
