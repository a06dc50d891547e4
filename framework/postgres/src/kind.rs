//! The kind of store that addresses of PostgreSQL name.

use std::sync::Arc;

use anyhow::{Result, bail};
use framework_protocol::Durability;
use framework_server::store::{Rules, Store, StoreEntry, StoreKind, StoreLocation, StoreOptions};

use crate::Postgres;
use crate::link::{Io, open};
use crate::options::PostgresOptions;
use crate::schema::{self, VERSION};

/// The longest name of a schema, in bytes.
const NAME_MAX: usize = 63;

struct PostgresKind;

inventory::submit!(StoreEntry(&PostgresKind));

/// The options for a location in the settings.
fn options_of(location: &StoreLocation) -> Result<PostgresOptions> {
    let mut options = PostgresOptions::parse(&location.address, &location.marks)?;
    if options.has_password() {
        bail!(
            "the address must not have a password, which others could read: put it into the environment, \
             THINK_SERVER_STORE_PASSWORD, or into a file (store_password_file)"
        );
    }
    if location.schema.is_empty() || location.schema.len() > NAME_MAX || location.schema.contains('\0') {
        bail!("store_schema must have 1 to {NAME_MAX} bytes");
    }
    if location.durability == Durability::Memory {
        bail!("a durability of memory needs no database");
    }
    if let Some(password) = &location.password {
        options.set_password(password);
    }
    options.schema.clone_from(&location.schema);
    (options.durability, options.timeout) = (location.durability, location.timeout);
    Ok(options)
}

impl StoreKind for PostgresKind {
    fn schemes(&self) -> &'static [&'static str] {
        &["postgres", "postgresql"]
    }

    fn check(&self, location: &StoreLocation) -> Result<()> {
        options_of(location).map(drop)
    }

    fn open(
        &self,
        location: StoreLocation,
        options: StoreOptions,
        rules: Arc<dyn Rules>,
    ) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(Postgres::start(options_of(&location)?, options, rules)?))
    }

    fn migrate(&self, location: StoreLocation) -> Result<String> {
        let (options, io) = (options_of(&location)?, Io::new()?);
        let (place, schema) = (options.shown(), options.schema.clone());
        let migrated = io.handle().spawn(async move {
            let (mut client, connection) = open(&options).await?;
            let migrated = schema::migrate(&mut client, &schema).await;
            connection.abort();
            migrated
        });
        Ok(match io.block_on(migrated)?? {
            0 => format!("Made {place}, version {VERSION}."),
            VERSION => format!("Nothing to do: {place} has version {VERSION}."),
            found => format!("Brought {place} from version {found} to {VERSION}."),
        })
    }
}
