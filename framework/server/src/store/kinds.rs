//! The kinds of stores that other crates add, each by the scheme of its addresses.
//!
//! A crate implements [`StoreKind`] and submits it as a [`StoreEntry`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use framework_protocol::Durability;

use super::{Rules, Store, StoreOptions};

/// Where a store is that is reached by an address, as the settings have it.
#[derive(Debug, Clone)]
pub struct StoreLocation {
    /// Such as `postgres://host/database`, without a password.
    pub address: String,
    /// The part of the place that belongs to this queue.
    pub schema: String,
    pub password: Option<String>,
    /// [`Durability::Fsync`] or [`Durability::Async`].
    pub durability: Durability,
    /// The longest that a call may take.
    pub timeout: Duration,
    /// The file on this machine beside which running attempts are marked.
    pub marks: PathBuf,
}

/// A kind of store.
pub trait StoreKind: Sync {
    /// The schemes of its addresses, such as `postgres`.
    fn schemes(&self) -> &'static [&'static str];

    /// Checks a location without a look at it.
    ///
    /// # Errors
    /// It is none of this kind.
    fn check(&self, location: &StoreLocation) -> Result<()>;

    /// Opens the store, and makes it if it is not there; may block.
    ///
    /// # Errors
    /// [`StoreInUse`] when another server uses it; and when it cannot be used.
    fn open(
        &self,
        location: StoreLocation,
        options: StoreOptions,
        rules: Arc<dyn Rules>,
    ) -> Result<Arc<dyn Store>>;

    /// Brings the place to the version of this program, and makes it if it is not there; says what was done.
    /// May block.
    ///
    /// # Errors
    /// When it cannot be reached or changed, or is of a newer version.
    fn migrate(&self, location: StoreLocation) -> Result<String>;
}

/// A registered kind of store.
pub struct StoreEntry(pub &'static dyn StoreKind);

inventory::collect!(StoreEntry);

/// Another server uses the store.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreInUse(pub String);

/// The kind of store that an address belongs to.
///
/// # Errors
/// It is no address, or of a kind that this program does not contain.
pub fn store_kind(address: &str) -> Result<&'static dyn StoreKind> {
    let kinds = || inventory::iter::<StoreEntry>.into_iter().map(|entry| entry.0);
    let scheme = address.split_once("://").map_or("", |(scheme, _)| scheme);
    if let Some(kind) = kinds().find(|kind| kind.schemes().contains(&scheme)) {
        return Ok(kind);
    }
    if ["postgres", "postgresql"].contains(&scheme) {
        bail!(
            "this program was built without \"postgres\", a feature of the framework: add it to the features of \
             think-framework in Cargo.toml, and build again"
        );
    }
    bail!("{address:?} is neither sqlite nor an address such as postgres://user@host/database")
}
