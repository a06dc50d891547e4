//! The stores: what each promises, against a model, through kills and power cuts, and files that are damaged.

mod conformance;
mod damaged_rows;
mod full_disk;
mod kill;
mod model;
mod postgres;
mod power_cut;
mod queue_file;
mod queue_identity;
mod repair_kills;
mod retention;
mod small_disk;
mod suspects;
mod wakeups;
