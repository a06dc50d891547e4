//! Jobs across the death and the reload of the server.

use rustix::process::Signal;

use super::{Beanstalk, address, server};
use crate::harness::Ran;
use crate::harness::eventually::wait_until;

#[test]
fn inserted_jobs_survive_the_death_of_the_server_and_reserved_ones_are_ready_again() {
    let mut server = server();
    let mut client = Beanstalk::connect(&server);
    client.ask("use mails");
    let ids: Vec<_> = (0..20).map(|number| client.put("1 0 60", &number.to_string())).collect();
    client.ask("watch mails");
    for id in &ids[..10] {
        assert_eq!(client.fetch("reserve").0, format!("RESERVED {id}"));
    }
    server.signal(Signal::KILL);
    server.exit_code();
    let server = server.again("");
    let mut client = Beanstalk::connect(&server);
    client.ask("watch mails");
    let reserved: Vec<_> = ids.iter().map(|_| client.fetch("reserve").1).collect();
    let mut numbers: Vec<usize> = reserved.iter().map(|body| body.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

#[test]
fn released_and_buried_jobs_are_after_a_restart_what_they_were_before() {
    let mut server = server();
    let mut client = Beanstalk::connect(&server);
    let (released, buried) = (client.put("1024 0 60", "released"), client.put("1024 0 60", "buried"));
    client.fetch("reserve");
    client.fetch("reserve");
    client.ask(&format!("release {released} 7 1000"));
    client.ask(&format!("bury {buried} 9"));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
    let server = server.again("");
    let mut client = Beanstalk::connect(&server);
    for (id, state, priority) in [(released, "delayed", "7"), (buried, "buried", "9")] {
        let command = format!("stats-job {id}");
        assert_eq!(
            (client.stat(&command, "state"), client.stat(&command, "pri")),
            (state.into(), priority.into())
        );
        assert_eq!(client.stat(&command, "reserves"), "1");
    }
    assert_eq!(client.ask("kick 1"), "KICKED 1");
    assert_eq!(client.fetch("reserve"), (format!("RESERVED {buried}"), "buried".to_owned()));
}

#[test]
fn reload_waits_for_held_jobs_and_ends_connections_that_hold_none() {
    let server = server();
    let address = address(&server);
    let (mut holder, mut waiting) = (Beanstalk::at(&address), Beanstalk::at(&address));
    let id = holder.put("1 0 60", "x");
    let next = holder.put("1 0 60", "y");
    holder.fetch(&format!("reserve-job {id}"));
    waiting.ask("watch other");
    waiting.ask("ignore default");
    waiting.0.send("reserve\r\n");
    let reload = std::thread::spawn({
        let mut command = server.project.command();
        command.args(["task:reload"]);
        move || Ran::of(&mut command)
    });
    wait_until("no job is handed out", || match holder.fetch("reserve-with-timeout 0").0.as_str() {
        "TIMED_OUT" => true,
        _ => holder.ask(&format!("release {next} 1 0")) != "RELEASED",
    });
    assert_eq!(holder.ask(&format!("delete {id}")), "DELETED");
    assert_eq!(reload.join().unwrap().code, Some(0));
    assert_eq!((holder.0.rest().as_str(), waiting.0.rest().as_str()), ("", ""), "both are closed");
    let mut client = Beanstalk::at(&address);
    assert_eq!(client.fetch("reserve").0, format!("RESERVED {next}"));
}
