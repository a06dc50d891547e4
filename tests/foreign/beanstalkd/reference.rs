//! The same random dialogues with the real beanstalkd and with the server: every answer is the same.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use fastrand::Rng;

use super::{Beanstalk, address, server};
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::process::kill;
use crate::harness::{foreign, server::Server};

/// A priority of each band, so that the order of jobs is the same where no two of a tube share one.
const PRIORITIES: [u32; 10] = [0, 5, 50, 500, 2_000, 20_000, 70_000, 2_000_000, 3_000_000_000, u32::MAX];
const TUBES: [&str; 2] = ["one", "two"];
const CLIENTS: usize = 3;
const STEPS: usize = 400;
/// Far more than a dialogue takes, in seconds.
const LONG: u32 = 1_000;

/// The real beanstalkd on a free port.
struct Beanstalkd {
    child: Child,
    address: String,
}

impl Beanstalkd {
    fn start() -> Self {
        foreign();
        eventually("a port that is free", || {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new("beanstalkd");
            command.args(["-l", "127.0.0.1", "-p", &port.to_string(), "-z", "2097152"]);
            let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let mut beanstalkd = Self { child, address: format!("127.0.0.1:{port}") };
            let is_there = eventually("it listens, or has ended", || {
                let is_over = beanstalkd.child.try_wait().unwrap().is_some();
                let is_open = std::net::TcpStream::connect(&beanstalkd.address).is_ok();
                (is_over || is_open).then_some(!is_over)
            });
            is_there.then_some(beanstalkd)
        })
    }
}

impl Drop for Beanstalkd {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A dialogue with both: what it knows of the jobs, so that their order is certain.
struct Dialogue {
    random: Rng,
    addresses: [String; 2],
    clients: Vec<[Beanstalk; 2]>,
    /// The tube that each client watches, and the jobs that it holds.
    watched: Vec<&'static str>,
    held: Vec<Vec<u64>>,
    /// The tube and the place in [`PRIORITIES`] of each job that is there.
    jobs: BTreeMap<u64, (&'static str, usize)>,
    used: Vec<&'static str>,
    /// The next delay in seconds; each is another one.
    delay: u32,
}

impl Dialogue {
    fn new(server: &Server, real: &Beanstalkd, seed: u64) -> Self {
        let addresses = [real.address.clone(), address(server)];
        let mut dialogue = Self {
            random: Rng::with_seed(seed),
            clients: (0..CLIENTS)
                .map(|_| addresses.each_ref().map(|address| Beanstalk::at(address)))
                .collect(),
            addresses,
            watched: vec![TUBES[0]; CLIENTS],
            held: vec![Vec::new(); CLIENTS],
            jobs: BTreeMap::new(),
            used: vec![TUBES[0]; CLIENTS],
            delay: LONG,
        };
        (0..CLIENTS).for_each(|client| dialogue.choose(client, TUBES[0]));
        dialogue
    }

    /// Asks both the same, and returns the answer, which has to be the same.
    #[track_caller]
    fn ask(&mut self, client: usize, command: &str) -> (String, String) {
        let [real, own] = &mut self.clients[client];
        let (real, own) = (masked(real.fetch(command)), masked(own.fetch(command)));
        assert_eq!(own, real, "the answer to {command:?}");
        real
    }

    fn choose(&mut self, client: usize, tube: &'static str) {
        let other = TUBES.iter().find(|other| **other != tube).unwrap();
        for command in [format!("use {tube}"), format!("watch {tube}"), format!("ignore {other}")] {
            self.ask(client, &command);
        }
        self.ask(client, "ignore default");
        (self.watched[client], self.used[client]) = (tube, tube);
    }

    /// A priority that no job of the tube has, apart from this one.
    fn free_priority(&mut self, tube: &str, id: Option<u64>) -> Option<usize> {
        let others = self.jobs.iter().filter(|(other, (of, _))| *of == tube && Some(**other) != id);
        let taken: Vec<_> = others.map(|(_, (_, place))| *place).collect();
        let free: Vec<_> = (0..PRIORITIES.len()).filter(|place| !taken.contains(place)).collect();
        self.random.choice(free)
    }

    fn any_job(&mut self) -> u64 {
        let known: Vec<_> = self.jobs.keys().copied().chain([1, 999_999]).collect();
        self.random.choice(known).unwrap()
    }

    fn any_held(&mut self, client: usize) -> u64 {
        let held = self.held[client].clone();
        self.random.choice(held).unwrap_or(999_999)
    }

    fn next_delay(&mut self) -> u32 {
        self.delay += 20;
        if self.random.bool() { self.delay } else { 0 }
    }

    fn put(&mut self, client: usize) {
        let tube = self.used[client];
        let Some(place) = self.free_priority(tube, None) else { return };
        let body = "x".repeat(self.random.usize(..50));
        let numbers = format!("{} {} {LONG}", PRIORITIES[place], self.next_delay());
        let (answer, _) = self.ask(client, &format!("put {numbers} {}\r\n{body}", body.len()));
        let id = answer.strip_prefix("INSERTED ").unwrap().parse().unwrap();
        self.jobs.insert(id, (tube, place));
    }

    fn note_reserved(&mut self, client: usize, answer: &str) {
        if let Some(id) = answer.strip_prefix("RESERVED ") {
            self.held[client].push(id.parse().unwrap());
        }
    }

    fn put_back(&mut self, client: usize, word: &str) {
        let id = self.any_held(client);
        let tube = self.jobs.get(&id).map_or(TUBES[0], |(tube, _)| *tube);
        let Some(place) = self.free_priority(tube, Some(id)) else { return };
        let delay = if word == "release" { format!(" {}", self.next_delay()) } else { String::new() };
        let (answer, _) = self.ask(client, &format!("{word} {id} {}{delay}", PRIORITIES[place]));
        if answer != "NOT_FOUND" {
            self.held[client].retain(|held| *held != id);
            self.jobs.insert(id, (tube, place));
        }
    }

    /// Closes a connection, whose jobs are ready again, and opens another one.
    fn reconnect(&mut self, client: usize) {
        self.clients[client] = self.addresses.each_ref().map(|address| Beanstalk::at(address));
        for id in std::mem::take(&mut self.held[client]) {
            for own in &mut self.clients[client] {
                let command = format!("stats-job {id}");
                wait_until("it is ready again", || own.stat(&command, "state") == "ready");
            }
        }
        let tube = self.watched[client];
        self.choose(client, tube);
    }

    fn step(&mut self) {
        let client = self.random.usize(..CLIENTS);
        match self.random.u32(..20) {
            0..5 => self.put(client),
            5..8 => {
                let (answer, _) = self.ask(client, "reserve-with-timeout 0");
                self.note_reserved(client, &answer);
            }
            8 => {
                let id = self.any_job();
                let (answer, _) = self.ask(client, &format!("reserve-job {id}"));
                self.note_reserved(client, &answer);
            }
            9 | 10 => {
                let id = if self.random.bool() { self.any_held(client) } else { self.any_job() };
                if self.ask(client, &format!("delete {id}")).0 == "DELETED" {
                    self.jobs.remove(&id);
                    self.held[client].retain(|held| *held != id);
                }
            }
            11 => self.put_back(client, "release"),
            12 => self.put_back(client, "bury"),
            13 => {
                let id = self.any_job();
                let word = self.random.choice(["touch", "peek", "stats-job", "kick-job"]).unwrap();
                self.ask(client, &format!("{word} {id}"));
            }
            14 => drop(self.ask(client, "kick 100")),
            15 => {
                let tube = self.random.choice(TUBES).unwrap();
                self.choose(client, tube);
            }
            16 => {
                let tube = self.random.choice([TUBES[0], TUBES[1], "nowhere"]).unwrap();
                self.ask(client, &format!("stats-tube {tube}"));
            }
            17 if self.random.u32(..4) == 0 => self.reconnect(client),
            17 => drop(self.ask(client, "list-tubes-watched")),
            18 => {
                let looks = ["peek-ready", "peek-delayed", "list-tube-used", "list-tubes-watched"];
                let command = self.random.choice(looks).unwrap();
                self.ask(client, command);
            }
            _ => {
                let wrong = [
                    "put 1 2",
                    "foo",
                    "delete x",
                    "use -a",
                    "kick",
                    "stats 1",
                    "release 1",
                    "",
                    "peek-ready 1",
                ];
                let command = self.random.choice(wrong).unwrap();
                self.ask(client, command);
            }
        }
    }
}

/// An answer without what depends on time and place, and without what the server states to be otherwise.
fn masked((line, body): (String, String)) -> (String, String) {
    if !line.starts_with("OK") {
        return (line, body);
    }
    let names = ["age", "time-left", "file", "kicks", "pause-time-left"];
    let is_kept = |line: &&str| !names.iter().any(|name| line.split(':').next() == Some(name));
    ("OK".to_owned(), body.lines().filter(is_kept).collect::<Vec<_>>().join("\n"))
}

#[test]
fn random_dialogues_have_the_same_answers_as_with_beanstalkd() {
    for seed in 0..3 {
        let (server, real) = (server(), Beanstalkd::start());
        let mut dialogue = Dialogue::new(&server, &real, seed);
        for step in 0..STEPS {
            let before = dialogue.random.get_seed();
            let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| dialogue.step()));
            assert!(played.is_ok(), "step {step} of seed {seed} (random state {before})");
        }
    }
}

#[test]
fn one_sided_edge_cases_are_answered_as_by_beanstalkd() {
    let (server, real) = (server(), Beanstalkd::start());
    let mut clients = [Beanstalk::at(&real.address), Beanstalk::connect(&server)];
    let long = format!("use {}", "a".repeat(200));
    for command in [
        "put 1 0 0 2\r\nab",
        "stats-job 1",
        "reserve-with-timeout -1",
        "touch 1",
        "release 1 4294967295 4294967295",
        "peek-delayed",
        "kick 1x",
        "reserve-job 1",
        "bury 1 0",
        "reserve-job 1",
        "delete 1",
        "peek 1",
        "put 0 0 10 0\r\n",
        "use default",
        "watch default",
        "ignore default",
        &long,
        "use ()/+;.$_-",
        "list-tube-used",
        "pause-tube nowhere 1",
        "reserve-with-timeout 99999999999999999999",
    ] {
        let [real, own] = clients.each_mut().map(|client| masked(client.fetch(command)));
        assert_eq!(own, real, "the answer to {command:?}");
    }
}
