//! The Cargo.toml of a new project.

use framework::serde_json::Value;

use super::source::FrameworkSource;

/// The crates of the framework that a project names, each with its folder in the sources.
const CRATES: [(&str, &str); 2] = [("think-framework", "framework"), ("think-commands", "commands")];

/// The text of the Cargo.toml for a package of this name.
pub(super) fn manifest(name: &str, source: &FrameworkSource) -> String {
    let dependencies: String = CRATES.iter().map(|named| dependency(source, named)).collect();
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
rust-version = "1.85"
publish = false
default-run = "think"
autobins = false

# The commands and tasks, for the program and for tests.
[lib]
name = "app"
path = "app/lib.rs"

# What ./think builds and starts.
[[bin]]
name = "think"
path = "app/main.rs"

[dependencies]
{dependencies}serde = {{ version = "1", features = ["derive"] }}

[profile.release]
strip = "debuginfo"

# A workspace of its own, wherever it stands.
[workspace]
"#
    )
}

fn dependency(source: &FrameworkSource, (name, folder): &(&str, &str)) -> String {
    match source {
        FrameworkSource::Folder(root) => {
            format!("{name} = {{ path = {} }}\n", quoted(&root.join(folder).to_string_lossy()))
        }
        FrameworkSource::Git { url, revision: None } => format!("{name} = {{ git = {} }}\n", quoted(url)),
        FrameworkSource::Git { url, revision: Some(revision) } => {
            format!("{name} = {{ git = {}, rev = {} }}\n", quoted(url), quoted(revision))
        }
        FrameworkSource::Registry(version) => format!("{name} = {}\n", quoted(version)),
    }
}

/// A text of TOML, which JSON's is as well.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_names_the_source_of_both_crates() {
        let lines = |source| {
            let text = manifest("shop", &source);
            text.lines().filter(|line| line.starts_with("think-")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            lines(FrameworkSource::Folder("/src/think".into())),
            [
                r#"think-framework = { path = "/src/think/framework" }"#,
                r#"think-commands = { path = "/src/think/commands" }"#
            ]
        );
        let git = |revision: Option<&str>| FrameworkSource::Git {
            url: "u".into(),
            revision: revision.map(Into::into),
        };
        assert_eq!(lines(git(None))[0], r#"think-framework = { git = "u" }"#);
        assert_eq!(lines(git(Some("v1")))[1], r#"think-commands = { git = "u", rev = "v1" }"#);
        assert_eq!(lines(FrameworkSource::Registry("0.1".into()))[0], r#"think-framework = "0.1""#);
    }
}
