//! Cancelled tasks: at once, dropped where they stand, or asked to stop.

use framework::store::AdminCommand;
use framework::views::{AdminResult, Cancelled, TaskSelector};
use serde::{Deserialize, Serialize};

use super::*;

async fn cancel(house: &House, id: u64) -> AdminResult {
    house.store.apply(AdminCommand::Cancel(TaskSelector::Task(id))).await.unwrap()
}

#[track_caller]
fn cancelled(outcome: TaskEnd) {
    assert!(matches!(outcome, TaskEnd::Cancelled(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_waiting_task_is_cancelled_at_once_and_its_client_and_on_finish_are_told() {
    for settings in every_store() {
        let (ends, mut told) = mpsc::unbounded_channel();
        let house = House::with(settings, Telling { ends, gate: None }).await;
        let mut client = house.client().await;
        let later = Request {
            delay: Some(Duration::from_secs(3600)),
            ..request("test_shout", serde_json::json!("x"))
        };
        let id = client.send_awaited(&later).await.unwrap();
        assert_eq!(cancel(&house, id).await, AdminResult::Cancelled(Cancelled::AtOnce));
        cancelled(client.ended().await.unwrap().1);
        assert_eq!(told.recv().await, Some((id, State::Cancelled)));
        assert_eq!(house.ledger().await.cancelled, 1);
    }
}

#[tokio::test]
async fn a_running_async_task_is_dropped_where_it_stands() {
    for settings in every_store() {
        let (ends, mut told) = mpsc::unbounded_channel();
        let house = House::with(settings, Telling { ends, gate: None }).await;
        let gate = Gate::new();
        let mut client = house.client().await;
        let id = client.send_awaited(&request("test_gate", gate.name())).await.unwrap();
        gate.entered().await;
        assert_eq!(cancel(&house, id).await, AdminResult::Cancelled(Cancelled::Aborted));
        cancelled(client.ended().await.unwrap().1);
        assert_eq!(told.recv().await, Some((id, State::Cancelled)));
        assert_eq!(client.status().await.unwrap().workers.busy, 0, "its worker is free again");
    }
}

#[tokio::test]
async fn what_a_handler_has_started_elsewhere_can_wait_for_the_cancel() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        let (gate, seen) = (Gate::new(), Gate::new());
        let mut client = house.client().await;
        let args = serde_json::json!([gate.name(), seen.name()]);
        let id = client.send_awaited(&request("test_watches_for_cancel", args)).await.unwrap();
        gate.entered().await;
        cancel(&house, id).await;
        seen.entered().await;
        cancelled(client.ended().await.unwrap().1);
    }
}

#[tokio::test]
async fn a_blocking_task_is_asked_to_stop_and_never_tried_again() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        for succeeds in [false, true] {
            let gate = Gate::new();
            let mut client = house.client().await;
            let args = serde_json::json!([gate.name(), succeeds]);
            let id = client.send_awaited(&request("test_blocks_until_asked", args)).await.unwrap();
            gate.entered().await;
            assert_eq!(cancel(&house, id).await, AdminResult::Cancelled(Cancelled::Requested));
            let outcome = client.ended().await.unwrap().1;
            match succeeds {
                true => assert_eq!(done(outcome).get(), "null"),
                false => cancelled(outcome),
            }
        }
        let ledger = house.ledger().await;
        assert_eq!((ledger.done, ledger.cancelled, ledger.waiting), (1, 1, 0));
    }
}

#[tokio::test]
async fn a_client_that_still_waits_when_the_server_stops_is_told_so() {
    for settings in every_store() {
        let house = House::with(settings, ()).await;
        let mut client = house.client().await;
        let later = Request {
            delay: Some(Duration::from_secs(3600)),
            ..request("test_shout", serde_json::json!("x"))
        };
        client.send_awaited(&later).await.unwrap();
        house.running.stop().await;
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
        Gate::find(self.0).enter();
        while !attempt.is_cancelled() {
            std::thread::yield_now();
        }
        ensure!(self.1, "stopped in the middle");
        Ok(())
    }
}
