//! Delivers mails as config/mail.toml says.

use std::path::PathBuf;

use framework::config::Config;
use framework::prelude::*;
use lettre::Message;
use serde::Serialize;
use tokio::sync::OnceCell;

use super::address::MailAddress;
use super::folder::Folder;
use super::settings::{MailSettings, Transport};
use super::smtp::Smtp;

/// Delivers mails as config/mail.toml says; there is one per process.
pub(super) struct Mailer {
    from: MailAddress,
    route: Route,
}

/// The transport with its state.
enum Route {
    Folder(Folder),
    Smtp(Smtp),
}

/// The delivery of a mail.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Delivery {
    /// Written to this file, relative to the project's root.
    File(PathBuf),
    /// Sent to the mail server, which replied with this.
    Answer(String),
}

impl Mailer {
    /// The mailer of the process, created at the first call.
    ///
    /// # Errors
    /// When config/mail.toml is invalid. The next attempt reads it again, so that it can be corrected while
    /// the server is running.
    pub(super) async fn of(config: &Config) -> Result<&'static Self> {
        static MAILER: OnceCell<Mailer> = OnceCell::const_new();
        MAILER.get_or_try_init(async || Self::new(config)).await
    }

    fn new(config: &Config) -> Result<Self> {
        let settings: MailSettings = config.section()?;
        let route = match settings.transport {
            Transport::File => Route::Folder(Folder::new(config.path(&settings.folder), &settings.folder)),
            Transport::Smtp => Route::Smtp(Smtp::new(config, &settings)?),
        };
        Ok(Self { from: settings.from, route })
    }

    /// The default sender.
    pub(super) fn from(&self) -> &MailAddress {
        &self.from
    }

    pub(super) async fn deliver(&self, name: &str, mail: &Message) -> Result<Delivery> {
        match &self.route {
            Route::Folder(folder) => folder.put(name, mail).await.map(Delivery::File),
            Route::Smtp(smtp) => smtp.send(mail).await.map(Delivery::Answer),
        }
    }
}
