//! The protocols of other systems, spoken by their own workers and clients.

mod beanstalkd;
mod faktory;
