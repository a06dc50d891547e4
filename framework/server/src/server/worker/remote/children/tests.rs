//! What becomes of the attempts of processes in each order of events.

use std::time::Duration;

use framework_protocol::task::{Handlers, NewTask, Outcome};
use tokio::sync::mpsc;

use super::super::{JoinRequest, RemoteLimits, RemoteResources};
use super::*;
use crate::server::access::WorkBounds;
use crate::server::finisher::EndedBatch;
use crate::server::leases::Leases;
use crate::server::outbox::Outbox;
use crate::server::settings::ServerSettings;
use crate::store::{Clock, Memory, Store, StoreOptions};

struct Fixture {
    remote: RemoteWorkers,
    store: Arc<Memory>,
    leases: Arc<Leases>,
    _ends: mpsc::Receiver<EndedBatch>,
}

fn died(was_killed: bool) -> ChildEnd {
    ChildEnd { error: "It died.".to_owned(), was_killed }
}

impl Fixture {
    fn new() -> Self {
        let handlers = Arc::new(Handlers::default());
        let store = Arc::new(Memory::new(StoreOptions::default(), handlers.clone(), Clock::fake(0)));
        let leases = Arc::new(Leases::new(store.clone()));
        let limits = RemoteLimits::new(&ServerSettings::default(), &handlers);
        let (sink, hits) = (Arc::new(()), Arc::default());
        let resources = RemoteResources {
            store: store.clone(),
            handlers,
            sink,
            leases: leases.clone(),
            hits,
            limits,
            others: None,
        };
        let (finisher, ends) = mpsc::channel(1);
        Self { remote: RemoteWorkers::new(resources, finisher), store, leases, _ends: ends }
    }

    /// Lets a process join.
    async fn join(&self, child: u64) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(1 << 20));
        let request = JoinRequest {
            name: "isolated#1".to_owned(),
            language: String::new(),
            peer: String::new(),
            child: Some(child),
            credit: 1,
            credit_bytes: None,
            heartbeats: true,
            functions: Vec::new(),
            queues: None,
            session: None,
            poll: None,
            resumes: Vec::new(),
            bounds: WorkBounds::default(),
        };
        let reply = serde_json::json!({"version": 1, "lease_ms": 1, "heartbeat_ms": 1, "credit_max": 1, "message_max": 1});
        let reply = serde_json::from_value(reply).unwrap();
        self.remote.join(&outbox, request, None, reply).await.unwrap();
        outbox
    }

    /// A process that has joined and runs one attempt.
    async fn busy(&self, tasks: Option<u32>) -> (u64, Arc<Outbox>) {
        let (number, outbox) = self.assigned(tasks).await;
        self.remote.heartbeat(&outbox).unwrap();
        (number, outbox)
    }

    /// A process that has joined and was given a task.
    async fn assigned(&self, tasks: Option<u32>) -> (u64, Arc<Outbox>) {
        let number = self.remote.add_child(Arc::default(), tasks, None);
        let outbox = self.join(number).await;
        let mut task = NewTask::without_handler("any", "null".into());
        task.timeout = Some(Duration::from_secs(1));
        self.store.push(vec![task]).await[0].clone().unwrap();
        let lease = self.store.take(0, 1).await.remove(0);
        let hold = self.leases.hold_batch(std::slice::from_ref(&lease));
        let name = self.remote.lease_name(lease.token.0);
        let mut state = self.remote.state();
        let mut all = state.workers.values_mut();
        all.find(|worker| worker.child.as_ref().unwrap().number == number)
            .unwrap()
            .hold(name, lease, hold, 1);
        drop(state);
        (number, outbox)
    }

    /// The ends that were noted so far: the reasons of lost attempts and the errors of failed ones.
    fn ends(&self) -> Vec<(Option<String>, Option<String>)> {
        let ends = self.remote.state().lost.drain(..).map(|(end, _)| end).collect::<Vec<_>>();
        let error = |outcome| match outcome {
            Some(Outcome::Failed(failure)) => Some(failure.message),
            Some(Outcome::Done(_)) | None => None,
        };
        ends.into_iter().map(|end| (end.lost, error(end.outcome))).collect()
    }

    fn room(&self, number: u64) -> u32 {
        let state = self.remote.state();
        let mut workers = state.workers.values();
        workers.find(|worker| worker.child.as_ref().unwrap().number == number).unwrap().room()
    }
}

#[tokio::test]
async fn attempt_is_lost_when_its_process_and_its_connection_have_ended() {
    for is_process_first in [false, true] {
        let fixture = Fixture::new();
        let (number, outbox) = fixture.busy(None).await;
        let end = |is_process| match is_process {
            true => fixture.remote.child_ended(number, died(false)),
            false => fixture.remote.remove_connection(&outbox),
        };
        end(is_process_first);
        assert_eq!(fixture.ends(), [], "{is_process_first}");
        end(!is_process_first);
        assert_eq!(fixture.ends(), [(Some("It died.".to_owned()), None)], "{is_process_first}");
        assert!(fixture.remote.state().children.is_empty());
    }
}

#[tokio::test]
async fn attempt_that_had_not_begun_when_its_process_was_killed_does_not_count() {
    for was_killed in [true, false] {
        let fixture = Fixture::new();
        let (number, outbox) = fixture.assigned(None).await;
        fixture.remote.remove_connection(&outbox);
        fixture.remote.child_ended(number, died(was_killed));
        let lost = (!was_killed).then(|| "It died.".to_owned());
        assert_eq!(fixture.ends(), [(lost, None)], "{was_killed}");
    }
}

#[tokio::test]
async fn attempt_whose_process_was_ended_for_its_timeout_has_timed_out() {
    let fixture = Fixture::new();
    let (number, outbox) = fixture.busy(None).await;
    for worker in fixture.remote.state().workers.values_mut() {
        let stop = StopRequest { at: Instant::now(), is_timeout: true };
        worker.leases().for_each(|(_, held)| held.stop = Some(StopRequest { ..stop }));
    }
    fixture.remote.remove_connection(&outbox);
    fixture.remote.child_ended(number, died(false));
    let error = "The attempt took longer than its timeout of 1s.".to_owned();
    assert_eq!(fixture.ends(), [(None, Some(error))]);
}

#[tokio::test]
async fn process_that_replaces_another_waits_for_the_end_of_its_last_task() {
    let fixture = Fixture::new();
    let (first, outbox) = fixture.busy(Some(1)).await;
    assert_eq!(fixture.room(first), 0);
    let second = fixture.remote.add_child(Arc::default(), Some(1), Some(first));
    fixture.join(second).await;
    assert_eq!(fixture.room(second), 0);
    fixture.remote.remove_connection(&outbox);
    assert_eq!(fixture.room(second), 0);
    fixture.remote.child_ended(first, died(false));
    assert_eq!(fixture.room(second), 1);
}

#[tokio::test]
async fn process_that_has_ended_cannot_join() {
    let fixture = Fixture::new();
    let number = fixture.remote.add_child(Arc::default(), None, None);
    fixture.remote.child_ended(number, died(false));
    assert!(fixture.remote.state().child_session(number).is_err());
}
