//! The stop of the server while clients hold jobs.

use rustix::process::Signal;

use super::{Beanstalk, server, server_with};
use crate::harness::eventually::wait_until;

#[test]
fn stop_lets_held_jobs_be_ended_and_takes_no_new_ones() {
    let mut server = server();
    let mut holder = Beanstalk::connect(&server);
    let mut waiting = Beanstalk::connect(&server);
    let (first, second) = (holder.put("1 0 60", "x"), holder.put("1 0 60", "y"));
    holder.fetch("reserve");
    holder.fetch("reserve");
    waiting.0.send("reserve\r\n");
    server.signal(Signal::TERM);
    assert_eq!(waiting.0.rest(), "", "who holds nothing is closed");
    wait_until("nothing is accepted", || holder.ask("put 1 0 60 1\r\nz") == "DRAINING");
    assert_eq!(holder.ask("reserve"), "DEADLINE_SOON", "what is held is to be ended");
    assert_eq!(holder.ask(&format!("delete {first}")), "DELETED");
    assert_eq!(holder.ask(&format!("release {second} 1 0")), "RELEASED");
    assert_eq!(holder.0.rest(), "");
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn stop_takes_jobs_back_that_are_not_ended_in_time() {
    let mut server = server_with("max_wait_time = \"300ms\"");
    let mut holder = Beanstalk::connect(&server);
    let id = holder.put("1 0 60", "x");
    holder.fetch("reserve");
    server.signal(Signal::TERM);
    assert_eq!(holder.0.rest(), "");
    assert_eq!(server.exit_code(), Some(0));
    let server = server.again("");
    let mut client = Beanstalk::connect(&server);
    assert_eq!(client.fetch("reserve").0, format!("RESERVED {id}"));
    assert_eq!(client.stat(&format!("stats-job {id}"), "reserves"), "1", "the attempt does not count");
}
