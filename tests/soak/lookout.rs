//! Looks at single tasks that were acknowledged: each is there until it has ended, whatever happens to the server.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use super::rounds::pause;
use super::tally::Tally;
use super::wire::Wire;

/// Ended tasks are kept for longer than this, however heavy the load.
const KEPT: Duration = Duration::from_secs(5);
const MANY: usize = 1_000;

/// A client that asks for them, for as long as the others send.
pub(super) fn look(tally: &Tally, _: &mut Rng) -> Result<()> {
    let mut wire = Wire::lines(&tally.address)?;
    for _ in 0..10 {
        look_at_some(tally, &mut wire)?;
        pause(tally, Duration::from_millis(200));
    }
    Ok(())
}

/// Asks until nothing is left to look at.
pub(super) fn look_at_all(tally: &Tally) -> Result<()> {
    let mut wire = Wire::lines(&tally.address)?;
    while look_at_some(tally, &mut wire)? {}
    Ok(())
}

/// Whether there were any.
fn look_at_some(tally: &Tally, wire: &mut Wire) -> Result<bool> {
    let due = tally.take_due(MANY);
    let states = states(wire, &due);
    if states.is_err() {
        tally.give_back(due);
        return states.map(|_| true);
    }
    let now = Instant::now();
    let mut open = Vec::new();
    for ((id, known), state) in due.iter().zip(states?) {
        match state.as_deref() {
            Some("waiting" | "running") => open.push((*id, now)),
            Some(_) => drop(tally.checked.fetch_add(1, Ordering::Relaxed)),
            None if known.elapsed() > KEPT => drop(tally.too_late.fetch_add(1, Ordering::Relaxed)),
            None => tally.wrong(format!("task {id} was acknowledged and is gone")),
        }
    }
    tally.give_back(open);
    Ok(!due.is_empty())
}

/// `None` for a task that nobody knows.
fn states(wire: &mut Wire, due: &[(u64, Instant)]) -> Result<Vec<Option<String>>> {
    let questions = due.iter().map(|(id, _)| format!("{{\"command\":\"show\",\"task\":{id},\"id\":{id}}}"));
    let questions: Vec<_> = questions.collect();
    wire.send(questions.iter().map(String::as_str))?;
    let mut states = Vec::new();
    for (id, _) in due {
        let answer = wire.answer()?;
        if answer["id"] != *id {
            bail!("the answer to another question than that for task {id}: {answer}");
        }
        states.push(match answer["code"].as_str() {
            None => Some(answer["result"]["state"].as_str().context("a story without a state")?.to_owned()),
            Some("unknown_task") => None,
            Some("shutting_down") => return Err(super::wire::closed()),
            Some(_) => bail!("{answer}"),
        });
    }
    Ok(states)
}
