//! Clients over lines, frames or a WebSocket, each of which connects for a few rounds.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use fastrand::Rng;
use serde_json::{Value, json};

use super::recorder::{Promise, Recorder, Status};
use super::wire::Wire;
use crate::harness::metrics::balance;

/// A delay that outlasts the round of a client, and is short enough for the drain at the end.
const LATER: &str = "10s";

/// The queue that is paused and resumed.
pub(super) const PAUSED_QUEUE: &str = "mail";

/// A client that connects once and does some things.
pub(super) type Scenario = fn(&Recorder, &mut Rng) -> Result<()>;
type Round = fn(&Recorder, &mut Wire, &mut Rng) -> Result<()>;

/// The rounds of a mixed client.
const ROUNDS: [Round; 13] = [
    acknowledged,
    awaited,
    raw,
    delayed,
    failing,
    expiring,
    cancelled,
    keyed,
    chained,
    batch,
    paused,
    watched,
    status,
];

/// Runs a client again and again, also after errors.
pub(super) fn repeat(recorder: &Recorder, name: &str, client: Scenario) {
    let mut random = Rng::new();
    while recorder.goes_on() {
        let moment = recorder.now();
        if let Err(error) = client(recorder, &mut random) {
            recorder.failed(name, moment, &error);
            pause(recorder, Duration::from_millis(random.u64(10..100)));
        }
    }
}

/// A client that pipelines, most of the load.
pub(super) fn pipeline(recorder: &Recorder, random: &mut Rng) -> Result<()> {
    let mut wire = Wire::any(&recorder.address, random)?;
    for _ in 0..random.u8(1..20) {
        if !recorder.goes_on() {
            break;
        }
        let count = random.usize(1..=200);
        send(
            recorder,
            &mut wire,
            &json!({ "function": "noop", "args": "x".repeat(random.usize(..200)) }),
            count,
        )?;
        std::thread::sleep(Duration::from_micros(count as u64 * 1_000));
    }
    Ok(())
}

/// A client that sends thousands of tasks over one connection.
pub(super) fn burst(recorder: &Recorder, random: &mut Rng) -> Result<()> {
    let mut wire = Wire::lines(&recorder.address)?;
    for _ in 0..10 {
        send(recorder, &mut wire, &json!({ "function": "echo", "args": "burst" }), 1_000)?;
    }
    pause(recorder, Duration::from_secs(random.u64(20..40)));
    Ok(())
}

/// A client that does a bit of everything.
pub(super) fn mixed(recorder: &Recorder, random: &mut Rng) -> Result<()> {
    let mut wire = Wire::any(&recorder.address, random)?;
    for _ in 0..random.u8(1..20) {
        if !recorder.goes_on() {
            break;
        }
        let round = random.usize(..ROUNDS.len());
        let name = wire.name();
        ROUNDS[round](recorder, &mut wire, random).with_context(|| format!("round {round} over {name}"))?;
        pause(recorder, Duration::from_millis(random.u64(..150)));
    }
    Ok(())
}

/// A client that disconnects in the middle of a message, without reading, or after a message without an end.
pub(super) fn rude(recorder: &Recorder, random: &mut Rng) -> Result<()> {
    let mut wire = Wire::any(&recorder.address, random)?;
    let task = json!({ "function": "echo", "args": "gone", "reply": "both" }).to_string();
    let tasks = vec![task.as_str(); random.usize(..50)];
    wire.send(tasks)?;
    let mut stream = wire.into_stream();
    match random.u8(..3) {
        0 => {
            let _ = stream.write_all(&task.as_bytes()[..random.usize(..task.len())]);
        }
        // Fire and forget: the rest is a message when a client closes.
        1 => {
            let _ = stream.write_all(task.as_bytes());
        }
        _ => {}
    }
    drop(stream);
    pause(recorder, Duration::from_millis(random.u64(10..100)));
    Ok(())
}

/// Sleeps, but not beyond the end of the load.
pub(super) fn pause(recorder: &Recorder, time: Duration) {
    const STEP: Duration = Duration::from_millis(100);
    let mut left = time;
    while recorder.goes_on() && !left.is_zero() {
        let step = left.min(STEP);
        std::thread::sleep(step);
        left -= step;
    }
}

/// Sends a task this many times, and reads the acknowledgements.
fn send(recorder: &Recorder, wire: &mut Wire, task: &Value, count: usize) -> Result<Vec<u64>> {
    let text = task.to_string();
    wire.send(std::iter::repeat_n(text.as_str(), count))?;
    let mut ids = Vec::new();
    let has_key = task.get("key").is_some();
    while ids.len() < count {
        if let Status::Queued(id) = recorder.read(&wire.answer()?, has_key)? {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Executes a command, and returns its result.
pub(super) fn execute(recorder: &Recorder, wire: &mut Wire, command: &Value) -> Result<Value> {
    wire.send([command.to_string().as_str()])?;
    let mut answer = wire.answer()?;
    recorder.read(&answer, false)?;
    Ok(answer["result"].take())
}

fn acknowledged(recorder: &Recorder, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let task = json!({ "function": "echo", "args": "x", "priority": random.u8(..10) });
    send(recorder, wire, &task, random.usize(1..50)).map(drop)
}

fn awaited(recorder: &Recorder, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let count = random.usize(1..50);
    let task = json!({ "function": "echo", "args": "x", "reply": "both" }).to_string();
    wire.send(std::iter::repeat_n(task.as_str(), count))?;
    let (mut queued, mut ended) = (0, 0);
    while queued + ended < 2 * count {
        match recorder.read(&wire.answer()?, false)? {
            Status::Queued(_) => queued += 1,
            Status::Ended => ended += 1,
            Status::Fine => {}
        }
    }
    ensure!((queued, ended) == (count, count), "{queued} acknowledged and {ended} ended of {count}");
    Ok(())
}

/// Text that is no JSON: the callback of the application makes a task of it.
fn raw(recorder: &Recorder, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let count = random.usize(1..10);
    wire.send(std::iter::repeat_n("hello", count))?;
    for _ in 0..count {
        let text = wire.text()?;
        if text.starts_with('{') {
            recorder.read(&serde_json::from_str(&text)?, false)?;
            continue;
        }
        let id = text.rsplit_once("task_id: ").and_then(|(_, id)| id.trim().parse().ok());
        recorder.acknowledge(id.with_context(|| format!("no task: {text}"))?, false);
    }
    Ok(())
}

fn delayed(recorder: &Recorder, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let delay = format!("{}ms", random.u64(..3_000));
    send(recorder, wire, &json!({ "function": "noop", "delay": delay }), 10).map(drop)
}

/// Their folder is a file.
fn failing(recorder: &Recorder, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    let args = json!({ "to": "ada@example.com", "content": "never" });
    let task = json!({ "function": "send_mail", "args": args, "attempts": 3, "backoff": "100ms" });
    send(recorder, wire, &task, 2).map(drop)
}

fn expiring(recorder: &Recorder, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    send(recorder, wire, &json!({ "function": "noop", "delay": "200ms", "expires": "100ms" }), 2).map(drop)
}

fn cancelled(recorder: &Recorder, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    let ids = send(recorder, wire, &json!({ "function": "noop", "delay": LATER }), 3)?;
    for task in ids {
        let result = execute(recorder, wire, &json!({ "command": "cancel", "task": task }))?;
        if result["cancelled"] == "at_once" {
            recorder.promise(Promise::Cancelled { task });
        }
    }
    Ok(())
}

fn keyed(recorder: &Recorder, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let key = format!("{:x}", random.u64(..));
    let ids = send(recorder, wire, &json!({ "function": "noop", "key": key }), 3)?;
    ensure!(ids.iter().all(|id| *id == ids[0]), "one key has the tasks {ids:?}");
    recorder.promise(Promise::Key { key, task: ids[0] });
    Ok(())
}

fn chained(recorder: &Recorder, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    send(recorder, wire, &json!({ "function": "echo", "args": "x", "then": ["echo", "noop"] }), 3).map(drop)
}

fn batch(recorder: &Recorder, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    let open = json!({ "command": "open_batch", "name": "soak", "function": "echo", "then": "batch_ended" });
    let opened = execute(recorder, wire, &open)?;
    let id = opened["batch_id"].as_u64().with_context(|| format!("opened a batch: {opened}"))?;
    let total = random.usize(1..50);
    send(recorder, wire, &json!({ "function": "echo", "args": "x", "batch": id }), total)?;
    match random.u8(..4) {
        0 => recorder.promise(Promise::NeverSealed { batch: id }),
        1 => {
            recorder.promise(Promise::NeverSealed { batch: id });
            execute(recorder, wire, &json!({ "command": "cancel", "batch": id }))?;
        }
        _ => {
            execute(recorder, wire, &json!({ "command": "seal_batch", "batch": id }))?;
            recorder.promise(Promise::Sealed { batch: id, total: total as u64 });
        }
    }
    Ok(())
}

/// Pauses a queue, sends to it, and resumes it.
fn paused(recorder: &Recorder, wire: &mut Wire, random: &mut Rng) -> Result<()> {
    execute(recorder, wire, &json!({ "command": "pause", "queue": PAUSED_QUEUE }))?;
    let task = json!({ "function": "noop", "queue": PAUSED_QUEUE });
    send(recorder, wire, &task, random.usize(1..10))?;
    execute(recorder, wire, &json!({ "command": "resume", "queue": PAUSED_QUEUE })).map(drop)
}

fn watched(recorder: &Recorder, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    let ids = send(recorder, wire, &json!({ "function": "noop", "delay": "100ms" }), 1)?;
    wire.send([json!({ "command": "watch", "task": ids[0] }).to_string().as_str()])?;
    for _ in 0..100 {
        if matches!(recorder.read(&wire.answer()?, false)?, Status::Ended) {
            return Ok(());
        }
    }
    bail!("a watched task has no end")
}

fn status(recorder: &Recorder, wire: &mut Wire, _: &mut Rng) -> Result<()> {
    let status = execute(recorder, wire, &json!({ "command": "status" }))?;
    balance(&status["ledger"]).map_err(|error| anyhow!(error))
}
