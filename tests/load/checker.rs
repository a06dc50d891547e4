//! Checks single tasks that were acknowledged: each is known until it has ended, through all faults.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

use super::recorder::Recorder;
use super::scenarios::pause;
use super::wire::Wire;

/// Ended tasks are retained for longer than this, however heavy the load.
const KEPT: Duration = Duration::from_secs(5);
const MANY: usize = 1_000;
/// The bound on the checks at the end, when no task waits or runs any more.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// A client that checks them while the others send.
pub(super) fn check(recorder: &Recorder, _: &mut Rng) -> Result<()> {
    let mut wire = Wire::lines(&recorder.address)?;
    for _ in 0..10 {
        check_some(recorder, &mut wire)?;
        pause(recorder, Duration::from_millis(200));
    }
    Ok(())
}

/// Checks until none is left.
pub(super) fn check_all(recorder: &Recorder) -> Result<()> {
    let mut wire = Wire::lines(&recorder.address)?;
    let deadline = Instant::now() + CHECK_TIMEOUT;
    while check_some(recorder, &mut wire)? {
        ensure!(Instant::now() < deadline, "acknowledged tasks do not end within {CHECK_TIMEOUT:?}");
    }
    Ok(())
}

/// Checks some of them; whether there were any.
fn check_some(recorder: &Recorder, wire: &mut Wire) -> Result<bool> {
    let due = recorder.take_due(MANY);
    let states = states(wire, &due);
    if states.is_err() {
        recorder.put_back(due);
        return states.map(|_| true);
    }
    let now = Instant::now();
    let mut open = Vec::new();
    for ((id, known), state) in due.iter().zip(states?) {
        match state.as_deref() {
            Some("waiting" | "running") => open.push((*id, now)),
            Some(_) => {
                recorder.checked.fetch_add(1, Ordering::Relaxed);
            }
            None if known.elapsed() > KEPT => {
                recorder.too_late.fetch_add(1, Ordering::Relaxed);
            }
            None => recorder.wrong(format!("task {id} was acknowledged and is gone")),
        }
    }
    recorder.put_back(open);
    Ok(!due.is_empty())
}

/// The states of tasks; `None` for one that is not known.
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
