//! The stores: what each promises, against a model, through kills and power cuts, and files that are damaged.

mod conformance;
mod kill;
mod model;
mod power_cut;
mod queue_file;
