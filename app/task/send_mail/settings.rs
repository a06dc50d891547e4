//! The settings of mails: config/mail.toml.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use framework::config::{Invalid, Secret, Section, Validator, duration};
use serde::{Deserialize, Serialize};

use super::address::MailAddress;

framework::section!(MailSettings);

/// The settings of mails.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct MailSettings {
    pub(super) transport: Transport,
    /// The default sender.
    pub(super) from: MailAddress,
    /// The folder of the transport `file`, relative to the project's root.
    pub(super) folder: PathBuf,
    pub(super) host: String,
    /// The port of the mail server; by default that of `tls`: 587, 465 or 25.
    pub(super) port: Option<u16>,
    pub(super) tls: Tls,
    /// A certificate that is trusted beside the well-known authorities, relative to the project's root.
    pub(super) ca_file: Option<PathBuf>,
    /// The user to log in as; without one, there is no login.
    pub(super) user: Option<String>,
    pub(super) password: Secret,
    /// The maximum number of connections to the mail server.
    pub(super) pool_size: NonZeroUsize,
    /// The timeout for connecting, TLS and login together.
    #[serde(with = "duration")]
    pub(super) connect_timeout: Duration,
}

/// The transport of mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    /// To a folder, one .eml file each.
    File,
    /// To a mail server.
    Smtp,
}

/// The encryption of connections to the mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tls {
    /// Plain text, without encryption.
    None,
    /// STARTTLS: encrypted after the greeting. A server that does not offer it is an error.
    #[serde(rename = "starttls")]
    Upgrade,
    /// TLS from the first byte.
    Implicit,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self {
            transport: Transport::File,
            from: "think@localhost".parse().expect("a constant address is valid"),
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
                "must not be \"none\" with a `user`: it would send the password to {} in clear text; \
                 use \"starttls\" or \"implicit\", or remove `user`",
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
    fn port_follows_from_the_encryption_unless_it_is_set() {
        assert_eq!(read(&[]).unwrap().port(), 587);
        assert_eq!(read(&[("THINK_MAIL_TLS", "implicit")]).unwrap().port(), 465);
        assert_eq!(read(&[("THINK_MAIL_TLS", "none"), ("THINK_MAIL_PORT", "2525")]).unwrap().port(), 2525);
    }

    #[test]
    fn password_is_not_sent_to_another_machine_in_clear_text() {
        let login = [("THINK_MAIL_USER", "ada"), ("THINK_MAIL_TLS", "none")];
        let error = read(&[login[0], login[1], ("THINK_MAIL_HOST", "mail.example.com")]).unwrap_err();
        assert!(error.contains("send the password to mail.example.com in clear text"), "{error}");
        assert!(read(&[login[0], login[1], ("THINK_MAIL_HOST", "127.0.0.1")]).is_ok());
    }

    #[test]
    fn bad_sender_is_named() {
        let error = read(&[("THINK_MAIL_FROM", "nobody")]).unwrap_err();
        assert!(error.contains("\"nobody\" is not a mail address"), "{error}");
    }
}
