//! The files of a new project but for its Cargo.toml.

/// The file that builds and starts the program.
pub(super) const LAUNCHER: &str = "think";

/// A file of a new project.
pub(super) struct ProjectFile {
    pub(super) path: &'static str,
    text: &'static str,
    /// A text in it that is replaced; what it is replaced by may contain `NAME`, the name of the package.
    replaced: Option<(&'static str, &'static str)>,
}

impl ProjectFile {
    const fn new(path: &'static str, text: &'static str) -> Self {
        Self { path, text, replaced: None }
    }

    const fn replacing(self, text: &'static str, other: &'static str) -> Self {
        Self { replaced: Some((text, other)), ..self }
    }

    /// The text of the file in a package of this name.
    pub(super) fn text(&self, name: &str) -> String {
        match self.replaced {
            Some((text, other)) => self.text.replace(text, &other.replace("NAME", name)),
            None => self.text.to_owned(),
        }
    }
}

pub(super) static FILES: [ProjectFile; 18] = [
    ProjectFile::new(LAUNCHER, include_str!("project/think")),
    ProjectFile::new("app/lib.rs", include_str!("project/app/lib.rs")),
    ProjectFile::new("app/main.rs", include_str!("project/app/main.rs")),
    ProjectFile::new("app/server.rs", include_str!("project/app/server.rs")),
    ProjectFile::new("app/command.rs", include_str!("project/app/command.rs")),
    ProjectFile::new("app/command/hello.rs", include_str!("project/app/command/hello.rs")),
    ProjectFile::new("app/task.rs", include_str!("project/app/task.rs")),
    ProjectFile::new("app/task/echo.rs", include_str!("project/app/task/echo.rs")),
    ProjectFile::new("tests/main.rs", include_str!("project/tests/main.rs")),
    ProjectFile::new("config/server.toml", include_str!("project/config/server.toml"))
        .replacing("\ndefault_function = \"send_mail\"\n", "\ndefault_function = \"echo\"\n"),
    ProjectFile::new("config/client.toml", include_str!("project/config/client.toml")),
    ProjectFile::new("config/functions.toml", include_str!("project/config/functions.toml")),
    ProjectFile::new("config/runtime.toml", include_str!("project/config/runtime.toml")),
    ProjectFile::new("config/schedule.toml", include_str!("project/config/schedule.toml")),
    ProjectFile::new("config/workers.toml", include_str!("project/config/workers.toml")),
    ProjectFile::new(".gitignore", include_str!("project/gitignore")),
    ProjectFile::new(".github/workflows/ci.yml", include_str!("project/ci.yml")),
    ProjectFile::new("README.md", include_str!("project/README.txt")).replacing("# NAME\n", "# NAME\n"),
];
