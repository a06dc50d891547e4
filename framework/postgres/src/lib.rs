//! A journal in PostgreSQL 13 or newer, for the store of the task server.
//!
//! One server at a time writes: it keeps the order of work in memory, and the database is where it writes
//! what has to survive. Another one takes over when the lease of the first has ended.
//!
//! Each module imports only those named before it, so this list is also the reading order.

mod options;
mod tls;
mod error;
mod schema;
mod link;
mod owner;
mod recovery;
mod inserts;
mod group;
mod reads;
mod change;
mod failures;
mod views;
mod listing;
mod reader;
mod journal;
mod kind;

pub use journal::PostgresJournal;
pub use options::PostgresOptions;
pub use reader::PostgresReader;

/// A store in a PostgreSQL database.
pub type Postgres = framework_server::store::durable::DurableStore<PostgresJournal>;
