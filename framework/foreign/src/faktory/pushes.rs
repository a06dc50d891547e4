//! Makes jobs, one or many at a time.

use std::collections::BTreeMap;

use framework_protocol::task::NewTask;
use serde_json::value::RawValue;

use super::job::FaktoryJob;
use super::replies;
use super::state::FaktorySession;

/// Makes one job, which is durable when it is answered.
pub(super) async fn push(session: &mut FaktorySession<'_>, text: &[u8]) {
    let task = match check(session, text) {
        Ok(task) => task,
        Err(error) => return session.error(&error),
    };
    match session.tasks().push(vec![task]).await.pop() {
        Some(Ok(_)) => {
            session.shared.count_pushed(1);
            session.ok();
        }
        Some(Err(error)) => session.output.extend_from_slice(&replies::refusal(&error)),
        None => session.error("The store gave no answer"),
    }
}

/// Makes many jobs; the answer names those that are not accepted, each with the reason.
pub(super) async fn push_many(session: &mut FaktorySession<'_>, text: &[u8]) {
    #[derive(serde::Deserialize)]
    struct Named {
        jid: String,
    }
    let jobs: Vec<&RawValue> = match serde_json::from_slice(text) {
        Ok(jobs) => jobs,
        Err(error) => return session.error(&format!("Invalid JSON: {error}")),
    };
    let mut refused = BTreeMap::new();
    let (mut tasks, mut names) = (Vec::new(), Vec::new());
    for job in jobs {
        let jid = serde_json::from_str::<Named>(job.get()).map_or_else(|_| String::new(), |named| named.jid);
        match check(session, job.get().as_bytes()) {
            Ok(task) => {
                tasks.push(task);
                names.push(jid);
            }
            Err(error) => _ = refused.insert(jid, error),
        }
    }
    let results = session.tasks().push(tasks).await;
    let mut count = 0;
    for (result, jid) in results.into_iter().zip(names) {
        match result {
            Ok(_) => count += 1,
            Err(error) => _ = refused.insert(jid, error.to_string()),
        }
    }
    session.shared.count_pushed(count);
    let document = serde_json::to_vec(&refused).expect("texts are JSON");
    replies::bulk(&mut session.output, &document);
}

fn check(session: &FaktorySession<'_>, text: &[u8]) -> Result<NewTask, String> {
    if session.is_stopping {
        return Err("The server is shutting down.".to_owned());
    }
    let job = FaktoryJob::parse(text)?;
    if !session.shared.note_queue(&job.queue, session.connection.max_queues()) {
        return Err("There are too many queues (max_foreign_queues).".to_owned());
    }
    Ok(job.task())
}
