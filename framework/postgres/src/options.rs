//! The address of a database and how it is reached.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use framework_protocol::Durability;
use framework_server::store::Clock;
use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// The longest that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A database that holds a queue.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) encryption: Encryption,
    /// The schema with the tables of the queue.
    pub schema: String,
    /// [`Durability::Fsync`] or [`Durability::Async`].
    pub durability: Durability,
    pub clock: Clock,
    /// The longest that a call may take.
    pub timeout: Duration,
    /// The file beside which running attempts are marked on this machine, as they are beside a queue's file;
    /// one process at a time uses it.
    pub marks: PathBuf,
}

/// How the connection is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Encryption {
    None,
    /// The certificate has to be valid for the host: by the roots in a file, or those that browsers trust.
    Verified(Option<PathBuf>),
}

impl PostgresOptions {
    /// Parses an address such as `postgres://user@db1,db2/app?sslrootcert=/etc/ssl/db.pem`. The parameters
    /// are those of libpq; `sslmode` is `verify-full` unless all hosts are this machine.
    ///
    /// # Errors
    /// It is no such address, or asks for an encryption that does not keep others out.
    pub fn parse(address: &str, marks: impl Into<PathBuf>) -> Result<Self> {
        let (address, mode, roots) = without_tls_parameters(address);
        let mut config = tokio_postgres::Config::from_str(&address).context("the address of the database")?;
        if config.get_hosts().is_empty() {
            bail!("the address of the database names no host");
        }
        if config.get_dbname().is_none() {
            bail!("the address of the database names no database: postgres://host/database");
        }
        let encryption = match mode.as_deref() {
            None if config.get_hosts().iter().all(is_local) => Encryption::None,
            None | Some("verify-full") => Encryption::Verified(roots),
            Some("disable") => Encryption::None,
            Some(other) => bail!(
                "sslmode={other} lets others listen or answer in the database's place: use verify-full, or disable \
                 within a network that you trust"
            ),
        };
        let is_encrypted = encryption != Encryption::None;
        config
            .ssl_mode(if is_encrypted { SslMode::Require } else { SslMode::Disable })
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_TIMEOUT)
            .application_name("think");
        Ok(Self {
            config,
            encryption,
            schema: "think".to_owned(),
            durability: Durability::Fsync,
            clock: Clock::machine(),
            timeout: Duration::from_secs(5),
            marks: marks.into(),
        })
    }

    pub(crate) fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// Sets the password, in place of one in the address.
    pub fn set_password(&mut self, password: &str) {
        self.config.password(password);
    }

    /// The place as people may see it, without the password.
    pub fn shown(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        format!("the schema {} of {} at {hosts}", self.schema, self.config.get_dbname().unwrap_or_default())
    }
}

/// Takes `sslmode` and `sslrootcert` out of an address.
fn without_tls_parameters(address: &str) -> (String, Option<String>, Option<PathBuf>) {
    let Some((base, query)) = address.split_once('?') else { return (address.to_owned(), None, None) };
    let (mut mode, mut roots, mut others) = (None, None, Vec::new());
    for parameter in query.split('&') {
        let decoded = |value| percent_decode_str(value).decode_utf8_lossy().into_owned();
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = Some(decoded(value)),
            Some(("sslrootcert", value)) => roots = Some(PathBuf::from(decoded(value))),
            _ => others.push(parameter),
        }
    }
    let rest = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    (rest, mode, roots)
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encryption(address: &str) -> Encryption {
        PostgresOptions::parse(address, "queue").unwrap().encryption
    }

    #[test]
    fn address_off_this_machine_is_reached_by_verified_tls_alone() {
        assert_eq!(encryption("postgres://u@db1,db2/app"), Encryption::Verified(None));
        assert_eq!(encryption("postgres://u@localhost,127.0.0.1/app"), Encryption::None);
        assert_eq!(encryption("postgres://u@%2Frun%2Fpostgresql/app"), Encryption::None);
        assert_eq!(encryption("postgres://u@db1/app?sslmode=disable"), Encryption::None);
        let roots = Encryption::Verified(Some("/a b.pem".into()));
        let address = "postgres://u@localhost/app?sslmode=verify-full&sslrootcert=/a%20b.pem";
        assert_eq!(encryption(address), roots);
        for mode in ["prefer", "require", "verify-ca"] {
            let error =
                PostgresOptions::parse(&format!("postgres://u@db1/app?sslmode={mode}"), "queue").unwrap_err();
            assert!(error.to_string().contains("verify-full"), "{error}");
        }
        assert!(PostgresOptions::parse("postgres://u@db1", "queue").is_err(), "it names no database");
    }

    #[test]
    fn shown_place_has_no_password() {
        let options = PostgresOptions::parse("postgres://u:secret@localhost/app", "queue").unwrap();
        assert_eq!(options.shown(), "the schema think of app at localhost");
        assert!(!format!("{options:?}").contains("secret"));
    }
}
