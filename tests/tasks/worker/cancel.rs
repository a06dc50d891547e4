//! Cancelled tasks: ended at once, dropped while they run, or asked to stop.

use framework::store::AdminCommand;
use framework::views::{AdminResult, Cancelled, TaskSelector};
use serde::{Deserialize, Serialize};

use super::*;
use crate::harness::eventually::wait_until;

async fn cancel(server: &TestServer, id: u64) -> AdminResult {
    server.store.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await.unwrap()
}

#[track_caller]
fn assert_cancelled(outcome: TaskEnd) {
    assert!(matches!(outcome, TaskEnd::Cancelled(_)), "{outcome:?}");
}

#[tokio::test]
async fn cancel_of_a_waiting_task_notifies_client_and_on_finish() {
    for settings in every_store() {
        let (ends, mut reported) = ends();
        let server = TestServer::with(settings, EndReporter { ends, gate: None }).await;
        let mut client = server.client().await;
        let later = Request {
            delay: Some(Duration::from_secs(3600)),
            ..request("test_shout", serde_json::json!("x"))
        };
        let id = client.send_awaited(&later).await.unwrap();
        assert_eq!(cancel(&server, id).await, AdminResult::Cancelled(Cancelled::AtOnce));
        assert_cancelled(client.ended().await.unwrap().1);
        assert_eq!(next_end(&mut reported).await, (id, State::Cancelled));
        assert_eq!(server.ledger().await.cancelled, 1);
    }
}

#[tokio::test]
async fn cancel_drops_a_running_async_task() {
    for settings in every_store() {
        let (ends, mut reported) = ends();
        let server = TestServer::with(settings, EndReporter { ends, gate: None }).await;
        let gate = Gate::new();
        let mut client = server.client().await;
        let id = client.send_awaited(&request("test_gate", gate.name())).await.unwrap();
        gate.reached().await;
        assert_eq!(cancel(&server, id).await, AdminResult::Cancelled(Cancelled::Aborted));
        assert_cancelled(client.ended().await.unwrap().1);
        assert_eq!(next_end(&mut reported).await, (id, State::Cancelled));
        assert_eq!(client.status().await.unwrap().workers.busy, 0, "its worker is free again");
    }
}

#[tokio::test]
async fn cancel_is_visible_to_spawned_work() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let (gate, seen) = (Gate::new(), Gate::new());
        let mut client = server.client().await;
        let args = serde_json::json!([gate.name(), seen.name()]);
        let id = client.send_awaited(&request("test_watches_for_cancel", args)).await.unwrap();
        gate.reached().await;
        cancel(&server, id).await;
        seen.reached().await;
        assert_cancelled(client.ended().await.unwrap().1);
    }
}

#[tokio::test]
async fn cancel_asks_a_blocking_task_to_stop() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        for succeeds in [false, true] {
            let gate = Gate::new();
            let mut client = server.client().await;
            let args = serde_json::json!([gate.name(), succeeds]);
            let id = client.send_awaited(&request("test_blocks_until_asked", args)).await.unwrap();
            gate.reached().await;
            assert_eq!(cancel(&server, id).await, AdminResult::Cancelled(Cancelled::Requested));
            let outcome = client.ended().await.unwrap().1;
            if succeeds {
                assert_eq!(done(outcome).get(), "null");
            } else {
                assert_cancelled(outcome);
            }
        }
        let ledger = server.ledger().await;
        assert_eq!((ledger.done, ledger.cancelled, ledger.waiting), (1, 1, 0));
    }
}

#[tokio::test]
async fn stop_sends_an_error_to_waiting_clients() {
    for settings in every_store() {
        let server = TestServer::with(settings, ()).await;
        let mut client = server.client().await;
        let later = Request {
            delay: Some(Duration::from_secs(3600)),
            ..request("test_shout", serde_json::json!("x"))
        };
        client.send_awaited(&later).await.unwrap();
        server.running.stop().await;
        let told = client.ended().await.unwrap_err().to_string();
        assert!(told.contains("stops before the task has ended"), "{told}");
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_watches_for_cancel")]
struct Watches(u64, u64);

impl Handle for Watches {
    type Output = ();

    async fn handle(self, attempt: &Attempt) -> Result<()> {
        let (watching, seen) = (attempt.clone(), Gate::find(self.1));
        tokio::spawn(async move {
            watching.cancelled().await;
            assert!(watching.is_cancelled());
            seen.open();
            seen.pass().await;
        });
        Gate::find(self.0).pass().await;
        Ok(())
    }
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_blocks_until_asked", blocking, attempts = 3, backoff = "1ms")]
struct BlocksUntilAsked(u64, bool);

impl HandleBlocking for BlocksUntilAsked {
    type Output = ();

    fn handle(self, attempt: &Attempt) -> Result<()> {
        Gate::find(self.0).reach();
        wait_until("the attempt is cancelled", || attempt.is_cancelled());
        ensure!(self.1, "stopped in the middle");
        Ok(())
    }
}
