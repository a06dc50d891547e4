//! Listeners that speak it: their settings, their connections, TLS and limits.

use super::{Beanstalk, address, server, server_with};
use crate::harness::Project;
use crate::harness::eventually::wait_until;
use crate::harness::server::Server;

#[test]
fn listener_speaks_it_alone_and_asks_for_no_token() {
    for (settings, error) in [
        ("protocols = [\"lines\", \"beanstalkd\"]\n", "`protocols` must have beanstalkd or faktory alone"),
        ("protocols = [\"beanstalkd\"]\nauth = \"token\"\n", "`auth` must be \"none\""),
    ] {
        let project = Project::with_settings(&format!("tokens = \"0123456789abcdef:admin\"\n{settings}"));
        let ran = project.think("task:check");
        let error = error.replace('`', "");
        let (said, code) = (ran.stderr.replace('`', "") + &ran.stdout.replace('`', ""), ran.code);
        assert!(code != Some(0) && said.contains(error.trim_start_matches("protocols ")), "{said}");
    }
}

#[test]
fn connections_and_status_show_its_clients() {
    let server = server();
    let mut client = Beanstalk::connect(&server);
    client.put("1 0 60", "x");
    let connections = server.think(&["task:connections", "--json"]).exits(0).json();
    let all = connections.as_array().unwrap();
    let own = all.iter().find(|connection| connection["protocol"] == "beanstalkd");
    assert!(own.unwrap()["bytes_in"].as_u64().unwrap() > 10, "{connections}");
    drop(client);
    wait_until("it is gone", || {
        let connections = server.think(&["task:connections", "--json"]).exits(0).json();
        !connections.to_string().contains("beanstalkd")
    });
}

#[test]
fn connection_beyond_the_limit_of_its_address_is_told_so_in_its_protocol() {
    let server = server_with("max_connection_per_address = 1");
    let _other = server.connect();
    let address = {
        let project = &server.project;
        let status = project.think("task:status --json").exits(0).json();
        let addresses = status["addresses"].as_array().unwrap().clone();
        let own = addresses.into_iter().find(|address| address["protocols"][0] == "beanstalkd");
        own.unwrap()["address"].as_str().unwrap().to_owned()
    };
    let mut refused = Beanstalk::at(&address);
    assert_eq!(refused.line(), "OUT_OF_MEMORY");
}

#[test]
fn silent_client_is_closed_unless_it_holds_or_waits_for_a_job() {
    let server = server_with("heartbeat_idle_time = \"300ms\"");
    let mut holder = Beanstalk::connect(&server);
    holder.put("1 0 60", "x");
    holder.fetch("reserve");
    let mut waiting = Beanstalk::connect(&server);
    waiting.0.send("reserve-with-timeout 2\r\n");
    let mut silent = Beanstalk::connect(&server);
    silent.ask("list-tube-used");
    assert_eq!(silent.0.rest(), "", "it is closed");
    assert_eq!(waiting.line(), "TIMED_OUT");
    assert_eq!(holder.ask("list-tube-used"), "USING default");
}

#[test]
fn unix_socket_speaks_it_too() {
    let settings = "[[listeners]]\nhost = \"unix:runtime/jobs.sock\"\nprotocols = [\"beanstalkd\"]\n";
    let server = Server::with_settings(settings);
    let path = server.project.path("runtime/jobs.sock");
    let answer = crate::harness::client::ask_unix(&path, b"put 1 0 60 1\r\nx\r\n");
    assert!(answer.starts_with("INSERTED "), "{answer}");
    assert!(address(&server).starts_with("unix:"));
}
