//! How mails are sent: config/mail.toml.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use framework::config::{Invalid, Secret, Section, Validator, duration};
use serde::{Deserialize, Serialize};

use super::address::MailAddress;

framework::section!(MailSettings);

/// How mails are sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct MailSettings {
    pub(super) transport: Transport,
    /// Who sends a mail that names nobody.
    pub(super) from: MailAddress,
    /// Where `file` puts the mails; the path starts at the project's root.
    pub(super) folder: PathBuf,
    pub(super) host: String,
    /// By default what is usual for `tls`: 587, 465 or 25.
    pub(super) port: Option<u16>,
    pub(super) tls: Tls,
    /// A certificate to trust beside the well-known authorities; the path starts at the project's root.
    pub(super) ca_file: Option<PathBuf>,
    /// Nobody logs in without one.
    pub(super) user: Option<String>,
    pub(super) password: Secret,
    /// How many connections to the server there may be at once.
    pub(super) pool_size: NonZeroUsize,
    /// How long connecting, the greetings and the login may take together.
    #[serde(with = "duration")]
    pub(super) connect_timeout: Duration,
}

/// Where mails go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    /// Into a folder, one .eml file each.
    File,
    /// To a mail server.
    Smtp,
}

/// Whether strangers may read what goes to the mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tls {
    /// They may.
    None,
    /// The connection is encrypted after the greeting. A server that offers no encryption gets no mail.
    #[serde(rename = "starttls")]
    Upgrade,
    /// The connection is encrypted from its first byte.
    Implicit,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self {
            transport: Transport::File,
            from: "think@localhost".parse().expect("it is an address"),
            folder: "runtime/mail".into(),
            host: "localhost".into(),
            port: None,
            tls: Tls::Upgrade,
            ca_file: None,
            user: None,
            password: Secret::default(),
            pool_size: NonZeroUsize::new(4).expect("four is not zero"),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

impl Section for MailSettings {
    const NAME: &'static str = "mail";

    fn check(&self) -> Result<(), Invalid> {
        let in_clear_text = self.user.is_some() && self.tls == Tls::None && !is_this_machine(&self.host);
        let sentence = || {
            format!(
                "must not be \"none\" here, for it would send the password to {} in clear text: \
                 write \"starttls\" or \"implicit\", or remove `user`",
                self.host
            )
        };
        Validator::new()
            .not_empty("host", Some(&self.host))
            .not_empty("user", self.user.as_deref())
            .that("tls", !in_clear_text, sentence)
            .done()
    }
}

impl MailSettings {
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.tls {
            Tls::None => 25,
            Tls::Upgrade => 587,
            Tls::Implicit => 465,
        })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use framework::config::Config;

    use super::*;

    fn read(environment: &[(&str, &str)]) -> Result<MailSettings, String> {
        let config = Config::at("no such project", environment.iter().copied());
        config.section().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn the_port_follows_from_the_encryption_unless_it_is_given() {
        assert_eq!(read(&[]).unwrap().port(), 587);
        assert_eq!(read(&[("THINK_MAIL_TLS", "implicit")]).unwrap().port(), 465);
        assert_eq!(read(&[("THINK_MAIL_TLS", "none"), ("THINK_MAIL_PORT", "2525")]).unwrap().port(), 2525);
    }

    #[test]
    fn a_password_is_not_sent_to_another_machine_in_clear_text() {
        let login = [("THINK_MAIL_USER", "ada"), ("THINK_MAIL_TLS", "none")];
        let error = read(&[login[0], login[1], ("THINK_MAIL_HOST", "mail.example.com")]).unwrap_err();
        assert!(error.contains("send the password to mail.example.com in clear text"), "{error}");
        assert!(read(&[login[0], login[1], ("THINK_MAIL_HOST", "127.0.0.1")]).is_ok());
    }

    #[test]
    fn a_bad_sender_is_named() {
        let error = read(&[("THINK_MAIL_FROM", "nobody")]).unwrap_err();
        assert!(error.contains("\"nobody\" is no mail address"), "{error}");
    }
}
