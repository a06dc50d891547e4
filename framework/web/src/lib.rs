//! The pages of a task server for people: what it does, and what needs attention.
//!
//! A server that is started with [`pages`] serves them at `/ui`. They are plain HTML, made here, and readable
//! without scripts; one small script keeps them up to date and adds keys. All that they show and do goes
//! through the verbs of the wire, with the rights of whoever has signed in.
//!
//! Each module imports only those named before it, so this list is also the reading order.

mod text;
mod format;
mod visit;
mod assets;
mod json_view;
mod layout;
mod chart;
mod task_parts;
mod schema_form;
mod actions;
mod screens;
mod live;
mod site;

use std::sync::Arc;

use framework_server::server::Pages;

/// The pages, for [`Server::pages`](framework_server::server::Server::pages).
pub fn pages() -> Arc<dyn Pages> {
    Arc::new(site::Site)
}
