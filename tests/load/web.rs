//! Clients over HTTP: one task, many in one request, waiting, and following events.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;
use serde_json::Value;

use super::recorder::Recorder;
use super::scenarios::pause;
use super::wire::{closed, connect};
use crate::harness::metrics::balance;

pub(super) fn visit(recorder: &Recorder, random: &mut Rng) -> Result<()> {
    let visits = [one, waiting, many, events, status];
    let number = random.usize(..visits.len());
    visits[number](recorder, random).with_context(|| format!("visit {number}"))?;
    pause(recorder, Duration::from_millis(random.u64(..200)));
    Ok(())
}

/// Sends a request over a connection of its own; the status and the body of the response.
fn ask(recorder: &Recorder, head: &str, kind: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = connect(&recorder.address)?;
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        recorder.address,
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(closed)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status in {head:?}"))?;
    if status == 503 && body.contains("shutting_down") {
        return Err(closed());
    }
    Ok((status, body.to_owned()))
}

fn accepted(recorder: &Recorder, answer: &Value) -> Result<()> {
    let id = answer["task_id"].as_u64().with_context(|| format!("no task: {answer}"))?;
    recorder.acknowledge(id, false);
    Ok(())
}

fn one(recorder: &Recorder, _: &mut Rng) -> Result<()> {
    let (status, body) = ask(recorder, "POST /tasks/echo", "application/json", "\"one\"")?;
    ensure!(status == 202, "{status}: {body}");
    accepted(recorder, &serde_json::from_str(&body).map_err(|_| closed())?)
}

fn waiting(recorder: &Recorder, _: &mut Rng) -> Result<()> {
    let (status, body) = ask(recorder, "POST /tasks/echo?wait=30s", "application/json", "\"wait\"")?;
    let answer: Value = serde_json::from_str(&body).map_err(|_| closed())?;
    // A server that stops may only acknowledge the task.
    ensure!([200, 202].contains(&status), "{status}: {body}");
    ensure!(status == 202 || answer["status"] == "done", "{body}");
    accepted(recorder, &answer)
}

fn many(recorder: &Recorder, random: &mut Rng) -> Result<()> {
    let count = random.usize(1..300);
    let lines = "{\"function\":\"echo\",\"args\":\"many\"}\n".repeat(count);
    let (status, body) = ask(recorder, "POST /tasks", "application/x-ndjson", &lines)?;
    ensure!(status == 200, "{status}: {body}");
    let mut answered = 0;
    for line in body.lines().filter(|line| line.starts_with('{')) {
        let answer: Value = serde_json::from_str(line).map_err(|_| closed())?;
        if answer["code"] == "shutting_down" {
            return Err(closed());
        }
        accepted(recorder, &answer)?;
        answered += 1;
    }
    // Without the last chunk it was cut off.
    if !body.ends_with("0\r\n\r\n") {
        return Err(closed());
    }
    ensure!(answered == count, "{answered} answers to {count} lines");
    Ok(())
}

/// Reads events for a while, and disconnects.
fn events(recorder: &Recorder, random: &mut Rng) -> Result<()> {
    let mut stream = connect(&recorder.address)?;
    write!(stream, "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", recorder.address)?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().ok_or_else(closed)??;
    ensure!(first.contains(" 200 ") || first.contains(" 503 "), "{first}");
    for _ in 0..random.usize(10..2_000) {
        if !recorder.goes_on() {
            break;
        }
        lines.next().ok_or_else(closed)??;
    }
    Ok(())
}

fn status(recorder: &Recorder, _: &mut Rng) -> Result<()> {
    let (status, body) = ask(recorder, "GET /status", "application/json", "")?;
    ensure!(status == 200, "{status}: {body}");
    let status: Value = serde_json::from_str(&body).map_err(|_| closed())?;
    balance(&status["ledger"]).map_err(|error| anyhow!(error))
}
