//! HTTP: the requests of the wire as resources.

mod body;
mod connection;
mod dispatch;
mod io;
mod matching;
mod openapi;
mod origin_policy;
mod pages;
mod params;
mod percent;
mod problem;
mod push_many;
mod push_task;
mod replies;
mod request_context;
mod response;
mod routes;
mod schemas;
mod sse;
mod work;

pub(super) use self::connection::serve;
pub(super) use self::problem::Problem;
