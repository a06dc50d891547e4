//! Which states of a batch a subscriber receives, and when.

use framework_protocol::ErrorCode;
use framework_protocol::task::{ExtraOptions, Handlers, NewTask, Outcome};
use framework_protocol::views::State;

use super::*;
use crate::store::{Clock, Disposition, Memory, Settlement, StoreOptions};

/// A store with one open batch, and its subscribers.
struct Fixture {
    store: Arc<Memory>,
    batches: Arc<BatchSubscriptions>,
    outbox: Arc<Outbox>,
}

impl Fixture {
    async fn new(tasks: usize) -> Self {
        let store =
            Arc::new(Memory::new(StoreOptions::default(), Arc::new(Handlers::default()), Clock::machine()));
        let (name, function) = ("users".to_owned(), "slow".to_owned());
        store.apply(AdminCommand::OpenBatch { name, function, then: None }).await.unwrap();
        let task = || {
            let mut task = NewTask::without_handler("slow", "null".into());
            task.extra = Some(Box::new(ExtraOptions { batch: Some(1), ..ExtraOptions::default() }));
            task
        };
        store.push((0..tasks).map(|_| task()).collect()).await;
        let batches = Arc::new(BatchSubscriptions::new(store.clone()));
        Self { store, batches, outbox: Arc::new(Outbox::new(4096)) }
    }

    async fn subscribe(&self) {
        self.batches.subscribe(&self.outbox, 1, Some("7")).await.unwrap();
    }

    async fn apply(&self, change: AdminCommand) {
        let _guard = self.batches.changing(&change);
        self.store.apply(change).await.unwrap();
    }

    /// Ends `count` tasks in the store, and publishes that as the notifier does.
    async fn settle(&self, count: usize) {
        for lease in self.store.take(0, count).await {
            let settlement = Settlement {
                task: lease.task.id,
                token: lease.token,
                disposition: Disposition::Done("1".into()),
                started_ms: 0,
                ran: Duration::ZERO,
                worker: None,
                follow: Vec::new(),
            };
            assert_eq!(self.store.settle(vec![settlement]).await, [true]);
            self.batches.ended(&[Finished {
                task: lease.task,
                state: State::Done,
                attempts: 1,
                outcome: Outcome::Done("1".into()),
                running: Duration::ZERO,
            }]);
        }
    }

    /// The lines sent: the status, the state of the batch, and the share that is done.
    fn sent(&self) -> Vec<String> {
        let mut output = Vec::new();
        self.outbox.collect(&mut output);
        let lines = String::from_utf8(output).unwrap();
        let short = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let (batch, text) =
                (&line["batch"], |value: &serde_json::Value| value.as_str().unwrap().to_owned());
            assert_eq!((&line["id"], &batch["batch_id"]), (&7.into(), &1.into()));
            format!(
                "{} {} {}/{}",
                text(&line["status"]),
                text(&batch["state"]),
                batch["done"],
                batch["total"]
            )
        };
        lines.lines().map(short).collect()
    }

    fn is_unused(&self) -> bool {
        self.outbox.is_settled() && self.batches.is_empty() && self.batches.watch().subscribers.is_empty()
    }
}

#[tokio::test]
async fn subscriber_receives_many_ends_in_one_line_and_the_last_one_exactly() {
    let fixture = Fixture::new(100).await;
    fixture.subscribe().await;
    fixture.apply(AdminCommand::SealBatch(1)).await;
    fixture.settle(40).await;
    fixture.batches.publish_changed().await;
    fixture.batches.publish_changed().await;
    assert_eq!(fixture.sent(), ["watching open 0/100", "progress running 40/100"]);
    fixture.settle(60).await;
    fixture.batches.publish_changed().await;
    assert_eq!(fixture.sent(), ["ended ended 100/100"]);
    assert!(fixture.is_unused());
}

#[tokio::test]
async fn empty_batch_ends_when_sealed_also_for_a_later_subscriber() {
    let fixture = Fixture::new(0).await;
    fixture.subscribe().await;
    fixture.apply(AdminCommand::SealBatch(1)).await;
    fixture.batches.publish_changed().await;
    assert_eq!(fixture.sent(), ["watching open 0/0", "ended ended 0/0"]);
    fixture.subscribe().await;
    assert_eq!(fixture.sent(), ["watching ended 0/0", "ended ended 0/0"]);
    assert!(fixture.is_unused());
}

#[tokio::test]
async fn change_during_the_first_query_is_published_afterwards() {
    let fixture = Fixture::new(1).await;
    let place = ReplyOrder::Anywhere;
    let waiter =
        Waiter { outbox: fixture.outbox.clone(), id: Some("7".into()), place, format: EndFormat::Reply };
    fixture.outbox.reserve(1);
    let number =
        fixture.batches.watch().subscribers.insert(1, waiter, BatchSubscriberState { round: 0, sent: None });
    fixture.batches.count.fetch_add(1, Ordering::SeqCst);
    let info = fixture.batches.info(1).await.unwrap();
    fixture.apply(AdminCommand::SealBatch(1)).await;
    fixture.settle(1).await;
    fixture.batches.publish_changed().await;
    assert!(fixture.sent().is_empty());
    fixture.batches.send_initial(number, info);
    fixture.batches.publish_changed().await;
    assert_eq!(fixture.sent(), ["watching open 0/1", "ended ended 1/1"]);
    assert!(fixture.is_unused());
}

#[tokio::test]
async fn state_from_before_the_first_line_is_queried_again() {
    let fixture = Fixture::new(2).await;
    let old = fixture.batches.info(1).await.unwrap();
    fixture.apply(AdminCommand::SealBatch(1)).await;
    fixture.settle(1).await;
    fixture.subscribe().await;
    // A round that had begun before, and comes to its end only now.
    fixture.batches.publish(0, old);
    assert_eq!(fixture.sent(), ["watching running 1/2"]);
    fixture.settle(1).await;
    fixture.batches.publish_changed().await;
    assert_eq!(fixture.sent(), ["ended ended 2/2"]);
}

#[tokio::test]
async fn slow_subscriber_misses_updates_but_not_the_end() {
    let fixture = Fixture::new(1_000).await;
    fixture.subscribe().await;
    fixture.apply(AdminCommand::SealBatch(1)).await;
    for _ in 0..1_000 {
        fixture.settle(1).await;
        fixture.batches.publish_changed().await;
    }
    let sent = fixture.sent();
    assert!(sent.len() < 100, "{}", sent.len());
    assert_eq!(sent.last().unwrap(), "ended ended 1000/1000");
    assert!(fixture.is_unused());
}

#[tokio::test]
async fn subscriber_is_removed_with_its_connection_alone() {
    let fixture = Fixture::new(1).await;
    let other = Arc::new(Outbox::new(4096));
    fixture.batches.subscribe(&other, 1, None).await.unwrap();
    fixture.subscribe().await;
    fixture.subscribe().await;
    fixture.batches.remove_connection(&fixture.outbox);
    assert_eq!(fixture.batches.count.load(Ordering::SeqCst), 1);
    fixture.batches.remove_connection(&other);
    assert!(fixture.batches.is_empty() && fixture.batches.watch().subscribers.is_empty());
}

#[tokio::test]
async fn subscribe_to_an_unknown_batch_is_an_error() {
    let fixture = Fixture::new(0).await;
    let error = fixture.batches.subscribe(&fixture.outbox, 5, None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownTask);
    assert!(fixture.is_unused());
}

#[tokio::test]
async fn close_all_sends_the_known_end_or_an_error() {
    let (complete, other) = (Fixture::new(0).await, Fixture::new(0).await);
    complete.subscribe().await;
    other.subscribe().await;
    complete.apply(AdminCommand::SealBatch(1)).await;
    let error = RequestError::new(ErrorCode::ShuttingDown, "The end.");
    [&complete, &other].into_iter().for_each(|fixture| fixture.batches.close_all(&error));
    assert_eq!(complete.sent(), ["watching open 0/0", "ended ended 0/0"]);
    let mut output = Vec::new();
    other.outbox.collect(&mut output);
    assert!(String::from_utf8(output).unwrap().contains("shutting_down"));
    assert!(complete.is_unused() && other.is_unused());
}
