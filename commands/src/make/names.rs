//! From the name of a command or task to the names of its Rust module and struct.

/// The reserved words of Rust, which cannot be the name of a module.
const RESERVED: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// The types that a new file imports, so that its struct cannot have the same name.
const USED: [&str; 14] = [
    "app", "args", "attempt", "command", "console", "context", "entry", "execute", "exit", "handle",
    "output", "registry", "result", "task",
];

/// `mail:send-all` is the module `mail_send_all` and the struct `MailSendAll`.
pub(super) struct Names {
    pub(super) module: String,
    pub(super) structure: String,
}

impl Names {
    /// The names for `name`. `kind` is appended to a name that is taken: `type` becomes `type_command`.
    pub(super) fn of(name: &str, kind: &str) -> Self {
        let mut parts: Vec<&str> = name.split([':', '-', '_', '.']).filter(|part| !part.is_empty()).collect();
        let only = parts.as_slice();
        let begins_with_digit = name.starts_with(|first: char| first.is_ascii_digit());
        if only.is_empty() || matches!(only, [only] if RESERVED.contains(only) || USED.contains(only)) {
            parts.push(kind);
        }
        if begins_with_digit {
            parts.insert(0, kind);
        }
        Self { module: parts.join("_"), structure: parts.iter().map(|part| capital(part)).collect() }
    }
}

fn capital(part: &str) -> String {
    let mut characters = part.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> (String, String) {
        let names = Names::of(name, "command");
        (names.module, names.structure)
    }

    #[test]
    fn names_are_made_of_the_parts_of_a_name() {
        assert_eq!(names("mail:send-all"), ("mail_send_all".into(), "MailSendAll".into()));
        assert_eq!(names("greet"), ("greet".into(), "Greet".into()));
    }

    #[test]
    fn names_avoid_reserved_words_and_imported_types() {
        assert_eq!(names("type"), ("type_command".into(), "TypeCommand".into()));
        assert_eq!(names("output"), ("output_command".into(), "OutputCommand".into()));
        assert_eq!(names("2fa"), ("command_2fa".into(), "Command2fa".into()));
    }
}
