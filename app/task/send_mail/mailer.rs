//! Brings mails to where the configuration wants them.

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

/// Brings mails to where the configuration wants them; there is one in a process.
pub(super) struct Mailer {
    from: MailAddress,
    route: Route,
}

enum Route {
    Folder(Folder),
    Smtp(Smtp),
}

/// Where a mail is now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Delivery {
    /// In this file; the path starts at the project's root.
    File(PathBuf),
    /// At the mail server, which answered this.
    Answer(String),
}

impl Mailer {
    /// # Errors
    /// When config/mail.toml is wrong. The next attempt reads it again, so that a mistake there can be mended
    /// while the server runs.
    pub(super) async fn of(config: &Config) -> Result<&'static Self> {
        static MAILER: OnceCell<Mailer> = OnceCell::const_new();
        MAILER.get_or_try_init(async || Self::new(config)).await
    }

    fn new(config: &Config) -> Result<Self> {
        let settings: MailSettings = config.section()?;
        let route = match settings.transport {
            Transport::File => Route::Folder(Folder::new(config.root(), &settings.folder)),
            Transport::Smtp => Route::Smtp(Smtp::new(config.root(), &settings)?),
        };
        Ok(Self { from: settings.from, route })
    }

    /// Who sends a mail that names nobody.
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
