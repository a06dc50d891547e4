//! Valid traffic with mistakes in it, for every decoder and for a whole server, again and again.

mod traffic;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fastrand::Rng;
use framework::protocol::{DetectedProtocol, FrameDecoder, LineDecoder, Message, MessageBatch};
use rustix::process::Signal;

use self::traffic::Traffic;
use crate::harness::metrics::assert_balanced;
use crate::harness::server::Server;
use crate::harness::watchdog;

/// The time of each in a usual run.
const BOUND: Duration = Duration::from_secs(3);
const LIMIT: usize = 256;

/// Runs rounds, each from a seed that a failure names, until the time is over; returns their number.
fn rounds(time: Duration, round: impl Fn(&mut Rng)) -> u64 {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < time {
        let seed = fastrand::u64(..);
        let came = catch_unwind(AssertUnwindSafe(|| round(&mut Rng::with_seed(seed))));
        assert!(came.is_ok(), "the round with the seed {seed} after {count} others");
        count += 1;
    }
    count
}

/// The bytes in pieces of any size.
fn pieces<'a>(random: &mut Rng, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(random.usize(1..=bytes.len().min(64)));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn lines(random: &mut Rng) {
    let bytes = Traffic::lines(random).spoiled(random);
    let (mut whole, mut cut) = (LineDecoder::new(LIMIT), LineDecoder::new(LIMIT));
    let texts = |page: &MessageBatch| {
        // One read may bring a line of any length; the session refuses those beyond the limit.
        let fits = |line: &&[u8]| line.len() <= LIMIT;
        MessageBatch::lines(&page.bytes).filter(fits).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let mut expected = texts(&whole.feed(&bytes));
    let mut found: Vec<_> =
        pieces(random, &bytes).into_iter().flat_map(|piece| texts(&cut.feed(piece))).collect();
    let rest = |lines: &mut LineDecoder| lines.finish().map(|rest| rest.to_vec());
    expected.extend(rest(&mut whole));
    found.extend(rest(&mut cut));
    assert_eq!(expected, found);
}

fn frames(random: &mut Rng) {
    let bytes = Traffic::frames(random).spoiled(random);
    let (mut whole, mut cut) = (FrameDecoder::new(LIMIT), FrameDecoder::new(LIMIT));
    let texts =
        |page: &MessageBatch| FrameDecoder::messages(&page.bytes).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let expected = texts(&whole.feed(&bytes));
    let found: Vec<_> =
        pieces(random, &bytes).into_iter().flat_map(|piece| texts(&cut.feed(piece))).collect();
    assert_eq!(expected, found);
    assert_eq!(whole.broken(), cut.broken());
    assert!(found.iter().all(|message| message.len() <= LIMIT));
}

fn openings(random: &mut Rng) {
    let bytes = Traffic::any(random).spoiled(random);
    let told: Vec<_> = (0..=bytes.len()).filter_map(|end| DetectedProtocol::detect(&bytes[..end])).collect();
    assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "a detected protocol stays");
    assert!(!bytes.contains(&b'\n') || !told.is_empty(), "a line suffices");
}

fn messages(random: &mut Rng) {
    let bytes = Traffic::lines(random).spoiled(random);
    for line in MessageBatch::lines(&bytes) {
        match Message::parse(line) {
            Ok(Message::Command(mut request)) => {
                let _ = request.take::<u64>("task", "a number");
                let _ = request.only(&[]);
            }
            Ok(Message::Data(data)) => assert!(line.ends_with(data)),
            Ok(Message::Task(_) | Message::Help | Message::Empty) | Err(_) => {}
        }
    }
}

#[test]
fn decoders_accept_mutated_traffic() {
    watchdog::watch();
    for decoder in [lines, frames, openings, messages] {
        assert!(rounds(BOUND / 2, decoder) > 100);
    }
}

/// A server that keeps its tasks in memory and logs little.
fn start() -> Server {
    Server::with_settings(
        "durability = \"memory\"\npackage_max_length = 4096\napp_log = false\ndefault_function = \"echo\"\n\
         http_header_timeout = \"1s\"\nhttp_body_timeout = \"1s\"\n",
    )
}

/// One client of any protocol with mistakes in what it sends.
fn disturb(server: &Server, random: &mut Rng) {
    let bytes = Traffic::any(random).spoiled(random);
    let mut client = server.connect();
    let stream = client.stream();
    for piece in pieces(random, &bytes) {
        // The server may have had enough of it.
        if stream.write_all(piece).is_err() {
            return;
        }
    }
    match random.u8(0..3) {
        0 => {
            let _ = stream.shutdown(Shutdown::Write);
        }
        1 => {
            let _ = stream.shutdown(Shutdown::Both);
        }
        _ => {
            stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let _ = stream.read(&mut [0; 4096]);
        }
    }
}

/// Checks that a proper client is served, and that the ledger balances.
fn check(server: &Server) {
    let mut client = server.connect();
    client.send("{\"function\":\"echo\",\"args\":\"well\",\"reply\":\"result\"}\n");
    assert_eq!(client.json()["result"], "well -> OK");
    assert_balanced(&client.status()["ledger"]);
}

fn disturb_for(time: Duration, server: &mut Server) -> u64 {
    let count = rounds(time, |random| {
        (0..50).for_each(|_| disturb(server, random));
        check(server);
    });
    server.signal(Signal::INT);
    let code = server.exit_code();
    let said = server.rest();
    // Chance may have made a task for another day, which memory does not keep.
    let has_left = said.iter().any(|line| line.contains("the memory store does not keep what has not ended"));
    assert_eq!(code, Some(i32::from(has_left)), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("panicked")), "{said:#?}");
    count * 50
}

#[test]
fn server_survives_mutated_traffic() {
    assert!(disturb_for(BOUND, &mut start()) > 0);
}

#[test]
#[ignore = "runs until stopped: cargo test --test main protocol::fuzz:: -- --ignored"]
fn fuzzing_finds_nothing_until_stopped() {
    watchdog::allow(Duration::MAX);
    let (mut fed, mut disturbed) = (0, 0);
    let minute = Duration::from_secs(60);
    loop {
        fed += [lines, frames, openings, messages].iter().map(|decoder| rounds(BOUND, *decoder)).sum::<u64>();
        disturbed += disturb_for(minute, &mut start());
        let figure = format!("{fed} rounds of decoders, {disturbed} clients of servers\n");
        std::fs::write(crate::harness::project_root().join("target/tests/fuzzed"), figure).unwrap();
    }
}
