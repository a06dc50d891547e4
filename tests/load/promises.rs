//! What the server said that must still be true after any number of kills.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::recorder::{Promise, Recorder};
use super::scenarios::execute;
use super::wire::Wire;

/// Checks that no task of a batch ran that was not sealed, and cancels all open batches, which would wait for
/// ever.
pub(super) fn end_unsealed(recorder: &Recorder, promises: &[Promise]) -> Result<()> {
    let mut wire = Wire::lines(&recorder.address)?;
    for promise in promises {
        if let Promise::NeverSealed { batch } = promise {
            let info = batch_info(recorder, &mut wire, *batch)?;
            if info["done"] != 0 || info["failed"] != 0 {
                recorder.wrong(format!("tasks of a batch ran that was not sealed: {info}"));
            }
        }
    }
    cancel_open_batches(recorder, &mut wire)
}

/// Cancels the batches whose client was disconnected before it could seal them.
pub(super) fn cancel_open_batches(recorder: &Recorder, wire: &mut Wire) -> Result<()> {
    let batches = execute(recorder, wire, &json!({ "command": "batches", "limit": 1_000 }))?;
    for batch in batches.as_array().into_iter().flatten().filter(|batch| batch["state"] == "open") {
        execute(recorder, wire, &json!({ "command": "cancel", "batch": batch["batch_id"] }))?;
    }
    Ok(())
}

/// Checks each promise, once no task waits or runs any more.
pub(super) fn check(recorder: &Recorder, promises: &[Promise]) -> Result<()> {
    let mut wire = Wire::lines(&recorder.address)?;
    for promise in promises {
        let (is_kept, found) = look(recorder, &mut wire, promise)?;
        if !is_kept {
            recorder.wrong(format!("{promise:?}, and then: {found}"));
        }
    }
    Ok(())
}

/// Whether a promise is kept, and what was found instead.
fn look(recorder: &Recorder, wire: &mut Wire, promise: &Promise) -> Result<(bool, Value)> {
    match promise {
        Promise::Cancelled { task } => {
            let task = execute(recorder, wire, &json!({ "command": "show", "task": task }))?;
            Ok((task["state"] == "cancelled", task))
        }
        Promise::Key { key, task } => {
            wire.send([json!({ "function": "noop", "key": key }).to_string().as_str()])?;
            let reply = wire.answer()?;
            Ok((reply["task_id"] == *task, reply))
        }
        Promise::Sealed { batch, total } => {
            let info = batch_info(recorder, wire, *batch)?;
            let count = |name: &str| info[name].as_u64().with_context(|| format!("no {name} in {info}"));
            let ended = count("done")? + count("failed")? + count("cancelled")? + count("expired")?;
            Ok((info["state"] == "ended" && count("total")? == *total && ended == *total, info))
        }
        Promise::NeverSealed { batch } => {
            let info = batch_info(recorder, wire, *batch)?;
            let is_cancelled = info["cancelled"] == info["total"];
            Ok((info["state"] == "ended" && info["done"] == 0 && is_cancelled, info))
        }
    }
}

fn batch_info(recorder: &Recorder, wire: &mut Wire, batch: u64) -> Result<Value> {
    execute(recorder, wire, &json!({ "command": "batch", "batch": batch }))
}
