//! What clients do that speak lines, frames or over a WebSocket: a few rounds, and away.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};

use super::tally::{Status, Tally};
use super::wire::Wire;

/// Longer than a drain at the end should take, and short enough to wait for at the end.
const LATER: &str = "10s";

type Round = fn(&Tally, &mut Wire, &mut Rng) -> Result<()>;

/// What a client may do in a round.
const ROUNDS: [Round; 11] =
    [acknowledged, awaited, delayed, failing, expiring, cancelled, keyed, chained, batch, watched, status];

/// A client that pipelines, most of the load.
pub(super) fn pipeline(tally: &Tally, random: &mut Rng) -> Result<()> {
    let mut wire = Wire::any(&tally.address, random)?;
    for _ in 0..random.u8(1..20) {
        if !tally.goes_on() {
            break;
        }
        let count = random.usize(1..=200);
        send(
            tally,
            &mut wire,
            &json!({ "function": "noop", "args": "x".repeat(random.usize(..200)) }),
            count,
        )?;
        std::thread::sleep(Duration::from_micros(count as u64 * 1_000));
    }
    Ok(())
}

/// Very many at once, over one connection.
pub(super) fn burst(tally: &Tally, random: &mut Rng) -> Result<()> {
    let mut wire = Wire::lines(&tally.address)?;
    for _ in 0..10 {
        send(tally, &mut wire, &json!({ "function": "echo", "args": "burst" }), 1_000)?;
    }
    pause(tally, Duration::from_secs(random.u64(20..40)));
    Ok(())
}

/// A client that does a bit of everything.
pub(super) fn mixed(tally: &Tally, random: &mut Rng) -> Result<()> {
    let mut wire = Wire::any(&tally.address, random)?;
    for _ in 0..random.u8(1..20) {
        if !tally.goes_on() {
            break;
        }
        let round = random.usize(..ROUNDS.len());
        let name = wire.name();
        ROUNDS[round](tally, &mut wire, random).with_context(|| format!("round {round} over {name}"))?;
        pause(tally, Duration::from_millis(random.u64(..150)));
    }
    Ok(())
}

/// A client that hangs up: in the middle of a message, without reading, or after a last message without an end.
pub(super) fn rude(tally: &Tally, random: &mut Rng) -> Result<()> {
    let mut wire = Wire::any(&tally.address, random)?;
    let task = json!({ "function": "echo", "args": "gone", "reply": "both" }).to_string();
    let tasks = vec![task.as_str(); random.usize(..50)];
    wire.send(tasks)?;
    let mut stream = wire.into_stream();
    match random.u8(..3) {
        0 => drop(stream.write_all(&task.as_bytes()[..random.usize(..task.len())])),
        // Fire and forget: what is left when a client closes is a message.
        1 => drop(stream.write_all(task.as_bytes())),
        _ => {}
    }
    drop(stream);
    pause(tally, Duration::from_millis(random.u64(10..100)));
    Ok(())
}

/// Sleeps, but not beyond the end.
pub(super) fn pause(tally: &Tally, time: Duration) {
    const STEP: Duration = Duration::from_millis(100);
    let mut left = time;
    while tally.goes_on() && !left.is_zero() {
        let step = left.min(STEP);
        std::thread::sleep(step);
        left -= step;
    }
}

/// Sends so many of a task, and reads their acknowledgements.
fn send(tally: &Tally, wire: &mut Wire, task: &Value, count: usize) -> Result<Vec<u64>> {
    let text = task.to_string();
    wire.send(std::iter::repeat_n(text.as_str(), count))?;
    let mut ids = Vec::new();
    let has_key = task.get("key").is_some();
    while ids.len() < count {
        if let Status::Queued(id) = tally.read(&wire.answer()?, has_key)? {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Asks a command, and tells its result.
fn ask(tally: &Tally, wire: &mut Wire, command: &Value) -> Result<Value> {
    wire.send([command.to_string().as_str()])?;
    let mut answer = wire.answer()?;
    tally.read(&answer, false)?;
    Ok(answer["result"].take())
}

fn acknowledged(tally: &Tally, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let task = json!({ "function": "echo", "args": "x", "priority": random.u8(..10) });
    send(tally, wire, &task, random.usize(1..50)).map(drop)
}

fn awaited(tally: &Tally, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let count = random.usize(1..50);
    let task = json!({ "function": "echo", "args": "x", "reply": "both" }).to_string();
    wire.send(std::iter::repeat_n(task.as_str(), count))?;
    let (mut queued, mut ended) = (0, 0);
    while queued + ended < 2 * count {
        match tally.read(&wire.answer()?, false)? {
            Status::Queued(_) => queued += 1,
            Status::Ended => ended += 1,
            Status::Fine => {}
        }
    }
    ensure!((queued, ended) == (count, count), "{queued} acknowledged and {ended} ended of {count}");
    Ok(())
}

fn delayed(tally: &Tally, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let delay = format!("{}ms", random.u64(..3_000));
    send(tally, wire, &json!({ "function": "noop", "delay": delay }), 10).map(drop)
}

/// Where their mail should go is a file.
fn failing(tally: &Tally, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    let args = json!({ "to": "ada@example.com", "content": "never" });
    let task = json!({ "function": "send_mail", "args": args, "attempts": 3, "backoff": "100ms" });
    send(tally, wire, &task, 2).map(drop)
}

fn expiring(tally: &Tally, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    send(tally, wire, &json!({ "function": "noop", "delay": "200ms", "expires": "100ms" }), 2).map(drop)
}

fn cancelled(tally: &Tally, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    let ids = send(tally, wire, &json!({ "function": "noop", "delay": LATER }), 3)?;
    for id in ids {
        ask(tally, wire, &json!({ "command": "cancel", "task": id }))?;
    }
    Ok(())
}

fn keyed(tally: &Tally, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let key = format!("{:x}", random.u64(..));
    let ids = send(tally, wire, &json!({ "function": "noop", "key": key }), 3)?;
    ensure!(ids.iter().all(|id| *id == ids[0]), "one key has the tasks {ids:?}");
    Ok(())
}

fn chained(tally: &Tally, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    send(tally, wire, &json!({ "function": "echo", "args": "x", "then": ["echo", "noop"] }), 3).map(drop)
}

fn batch(tally: &Tally, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let open = json!({ "command": "open_batch", "name": "soak", "function": "echo", "then": "batch_ended" });
    let opened = ask(tally, wire, &open)?;
    let id = opened["batch"].as_u64().with_context(|| format!("opened a batch: {opened}"))?;
    send(tally, wire, &json!({ "function": "echo", "args": "x", "batch": id }), random.usize(1..50))?;
    ask(tally, wire, &json!({ "command": "seal_batch", "batch": id })).map(drop)
}

fn watched(tally: &Tally, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    let ids = send(tally, wire, &json!({ "function": "noop", "delay": "100ms" }), 1)?;
    wire.send([json!({ "command": "watch", "task": ids[0] }).to_string().as_str()])?;
    while !matches!(tally.read(&wire.answer()?, false)?, Status::Ended) {}
    Ok(())
}

fn status(tally: &Tally, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    let status = ask(tally, wire, &json!({ "command": "status" }))?;
    balance(&status["ledger"])
}

/// Whether everything that was accepted is somewhere.
pub(super) fn balance(ledger: &Value) -> Result<()> {
    let count = |name: &str| ledger[name].as_u64().with_context(|| format!("no {name} in {ledger}"));
    let mut sum = 0;
    for part in ["done", "failed", "cancelled", "expired", "waiting", "running"] {
        sum += count(part)?;
    }
    ensure!(count("accepted")? == sum, "the ledger does not balance: {ledger}");
    Ok(())
}
