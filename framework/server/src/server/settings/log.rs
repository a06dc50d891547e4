//! The options of the log, made of the settings.

use framework_console::config::Config;
use framework_console::log::Logging;

use super::ServerSettings;

impl ServerSettings {
    /// The options of the log.
    pub fn logging(&self, config: &Config) -> Logging {
        Logging {
            level: self.log_level,
            format: self.log_format,
            app_log: self.app_log,
            outcomes: self.log_outcomes.unwrap_or(self.log_file.is_some()),
            rotation: self.log_rotation,
            keep: self.max_log_files,
            max_buffer: self.max_log_buffer,
            file: self.log_file.as_ref().map(|file| config.path(file)),
        }
    }
}
