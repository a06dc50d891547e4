//! The files that the settings name: what the server writes must be none of the others.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use framework_console::config::Config;
use framework_console::files::identity;
use framework_protocol::Durability;

use super::{ListenPlace, ServerSettings};

/// The files beside the queue's own, by their suffixes.
const QUEUE_FILES: [&str; 5] = ["", "-wal", "-shm", ".running", ".reserve"];

/// A file that a setting names.
struct NamedFile {
    setting: String,
    path: PathBuf,
}

impl NamedFile {
    fn new(setting: impl Into<String>, path: impl AsRef<Path>, config: &Config) -> Self {
        Self { setting: setting.into(), path: resolved(&config.path(path)) }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.path == other.path || identity(&self.path).is_some_and(|own| Some(own) == identity(&other.path))
    }

    /// `true` if the other file is what a rotation makes of this one: `server.log.1` and so on.
    fn is_rotated_to(&self, other: &Self) -> bool {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let (own, other_name) = (name(&self.path), name(&other.path));
        let number = own.zip(other_name).and_then(|(own, other)| Some(other.strip_prefix(&own)?.to_owned()));
        let is_number = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        self.path.parent() == other.path.parent()
            && number.is_some_and(|number| number.strip_prefix('.').is_some_and(is_number))
    }
}

impl ServerSettings {
    /// Checks that no file which the server writes is at the same time another one of the settings, or a file
    /// of settings itself.
    ///
    /// # Errors
    /// Two settings that name the same file.
    pub fn check_files(&self, config: &Config) -> Result<()> {
        let written = self.written_files(config);
        let read = self.read_files(config);
        for (index, file) in written.iter().enumerate() {
            for other in written[index + 1..].iter().chain(&read) {
                ensure!(
                    file.setting == other.setting || !file.is_same(other),
                    "config/server.toml: `{}` and {} are the same file, {}: choose another path for one of them",
                    file.setting,
                    other.setting,
                    other.path.display()
                );
            }
        }
        let log = written.iter().find(|file| file.setting == "log_file");
        for other in written.iter().chain(&read) {
            ensure!(
                !log.is_some_and(|log| log.is_rotated_to(other)),
                "config/server.toml: {} is a file that `log_file` is rotated to, {}: choose another path",
                other.setting,
                other.path.display()
            );
        }
        Ok(())
    }

    fn written_files(&self, config: &Config) -> Vec<NamedFile> {
        let mut files = Vec::new();
        let named = [("pid_file", &self.pid_file), ("log_file", &self.log_file)];
        for (setting, path) in named {
            files.extend(path.iter().map(|path| NamedFile::new(setting, path, config)));
        }
        if self.durability != Durability::Memory {
            let beside = |suffix: &&str| {
                let mut path = self.queue_file.clone().into_os_string();
                path.push(suffix);
                NamedFile::new("queue_file", path, config)
            };
            files.extend(QUEUE_FILES.iter().map(beside));
        }
        let listeners = std::iter::once(self.first_listener()).chain(self.listeners.iter().cloned());
        for listener in listeners.chain(self.control_listener()) {
            if let ListenPlace::Unix(path) = listener.place() {
                let is_control = Some(path) == self.control_socket.to_str().map(Path::new);
                files.push(NamedFile::new(if is_control { "control_socket" } else { "host" }, path, config));
            }
        }
        files
    }

    fn read_files(&self, config: &Config) -> Vec<NamedFile> {
        let mut files: Vec<_> =
            self.tokens_file.iter().map(|path| NamedFile::new("tokens_file", path, config)).collect();
        for listener in std::iter::once(&self.first_listener()).chain(&self.listeners) {
            let named = [
                ("ssl_cert_file", &listener.ssl_cert_file),
                ("ssl_key_file", &listener.ssl_key_file),
                ("ssl_client_cert_file", &listener.ssl_client_cert_file),
            ];
            for (setting, path) in named {
                files.extend(path.iter().map(|path| NamedFile::new(setting, path, config)));
            }
        }
        let settings = fs::read_dir(config.root().join("config")).into_iter().flatten().flatten();
        files.extend(settings.map(|entry| NamedFile::new("a file of settings", entry.path(), config)));
        let program = std::env::current_exe().ok();
        files.extend(program.map(|program| NamedFile::new("the program", program, config)));
        files
    }
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(resolved) = path.canonicalize() {
        return resolved;
    }
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of these settings in a project with some files; empty when there is none.
    fn check(variables: &[(&str, &str)]) -> String {
        let root = std::env::temp_dir().join(format!("think-named-{}", std::process::id()));
        fs::create_dir_all(root.join("config")).unwrap();
        for file in ["config/server.toml", "tokens"] {
            fs::write(root.join(file), "").unwrap();
        }
        let _ = fs::hard_link(root.join("tokens"), root.join("hard"));
        let _ = std::os::unix::fs::symlink(root.join("tokens"), root.join("link"));
        let config = Config::at(&root, variables.iter().copied());
        let settings = config.section::<ServerSettings>().unwrap();
        settings.check_files(&config).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn check_files_names_both_settings_of_one_file() {
        let tokens = ("THINK_SERVER_TOKENS_FILE", "tokens");
        for (variables, named) in [
            (&[("THINK_SERVER_LOG_FILE", "tokens"), tokens][..], ["`log_file`", "tokens_file"]),
            (&[("THINK_SERVER_LOG_FILE", "./config/../tokens"), tokens], ["`log_file`", "tokens_file"]),
            (&[("THINK_SERVER_LOG_FILE", "hard"), tokens], ["`log_file`", "tokens_file"]),
            (&[("THINK_SERVER_LOG_FILE", "link"), tokens], ["`log_file`", "tokens_file"]),
            (&[("THINK_SERVER_PID_FILE", "config/server.toml")], ["`pid_file`", "a file of settings"]),
            (&[("THINK_SERVER_PID_FILE", "a"), ("THINK_SERVER_LOG_FILE", "a")], ["`pid_file`", "log_file"]),
            (&[("THINK_SERVER_LOG_FILE", "runtime/queue.db-wal")], ["`log_file`", "queue_file"]),
            (&[("THINK_SERVER_QUEUE_FILE", "tokens"), tokens], ["`queue_file`", "tokens_file"]),
            (&[("THINK_SERVER_PID_FILE", "runtime/server.sock")], ["`pid_file`", "control_socket"]),
            (
                &[("THINK_SERVER_LOG_FILE", "log"), ("THINK_SERVER_TOKENS_FILE", "log.3")],
                ["`log_file`", "tokens_file"],
            ),
        ] {
            let error = check(variables);
            assert!(named.iter().all(|name| error.contains(name)), "{variables:?}: {error}");
        }
        assert_eq!(check(&[("THINK_SERVER_LOG_FILE", "server.log"), tokens]), "");
    }
}
