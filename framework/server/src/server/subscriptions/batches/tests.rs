//! Who hears what of a batch, and when.

use framework_protocol::task::{ExtraOptions, Handler, Handlers, NewTask, Outcome};
use framework_protocol::views::State;

use super::*;
use crate::store::{Clock, Disposition, Memory, Settlement, StoreOptions};

static HANDLER: Handler = Handler::missing("slow");

/// A store with one open batch, and those who follow it.
struct Stage {
    store: Arc<Memory>,
    batches: Arc<BatchSubscriptions>,
    outbox: Arc<Outbox>,
}

impl Stage {
    async fn new(tasks: usize) -> Self {
        let store =
            Arc::new(Memory::new(StoreOptions::default(), Arc::new(Handlers::default()), Clock::machine()));
        let (name, function) = ("users".to_owned(), "slow".to_owned());
        store.apply(AdminCommand::OpenBatch { name, function, then: None }).await.unwrap();
        let task = || {
            let mut task = NewTask::with_defaults(&HANDLER, "null".into());
            task.extra = Some(Box::new(ExtraOptions { batch: Some(1), ..ExtraOptions::default() }));
            task
        };
        store.push((0..tasks).map(|_| task()).collect()).await;
        let batches = Arc::new(BatchSubscriptions::new(store.clone()));
        Self { store, batches, outbox: Arc::new(Outbox::new(4096)) }
    }

    async fn follow(&self) {
        self.batches.subscribe(&self.outbox, 1, Some("7")).await.unwrap();
    }

    async fn change(&self, change: AdminCommand) {
        let _changing = self.batches.changing(&change);
        self.store.apply(change).await.unwrap();
    }

    /// So many tasks end, in the store and as the notifier tells of it.
    async fn settle(&self, count: usize) {
        for lease in self.store.take(0, count).await {
            let settlement = Settlement {
                task: lease.task.id,
                token: lease.token,
                disposition: Disposition::Done("1".into()),
                started_ms: 0,
                ran: Duration::ZERO,
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

    /// What was sent: the status, the state of the batch, and how much of it is done.
    fn sent(&self) -> Vec<String> {
        let mut output = Vec::new();
        self.outbox.collect(&mut output);
        let lines = String::from_utf8(output).unwrap();
        let short = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let (batch, text) =
                (&line["batch"], |value: &serde_json::Value| value.as_str().unwrap().to_owned());
            assert_eq!((&line["id"], &batch["id"]), (&7.into(), &1.into()));
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

    fn is_left(&self) -> bool {
        self.outbox.is_settled() && self.batches.is_empty() && self.batches.circle().seats.is_empty()
    }
}

#[tokio::test]
async fn a_follower_hears_of_many_ends_in_one_line_and_of_the_last_one_exactly() {
    let stage = Stage::new(100).await;
    stage.follow().await;
    stage.change(AdminCommand::SealBatch(1)).await;
    stage.settle(40).await;
    stage.batches.publish_changed().await;
    stage.batches.publish_changed().await;
    assert_eq!(stage.sent(), ["watching open 0/100", "progress running 40/100"]);
    stage.settle(60).await;
    stage.batches.publish_changed().await;
    assert_eq!(stage.sent(), ["ended ended 100/100"]);
    assert!(stage.is_left());
}

#[tokio::test]
async fn an_empty_batch_ends_when_it_is_sealed_and_who_comes_later_hears_of_that() {
    let stage = Stage::new(0).await;
    stage.follow().await;
    stage.change(AdminCommand::SealBatch(1)).await;
    stage.batches.publish_changed().await;
    assert_eq!(stage.sent(), ["watching open 0/0", "ended ended 0/0"]);
    stage.follow().await;
    assert_eq!(stage.sent(), ["watching ended 0/0", "ended ended 0/0"]);
    assert!(stage.is_left());
}

#[tokio::test]
async fn what_comes_while_the_store_is_asked_is_told_afterwards() {
    let stage = Stage::new(1).await;
    let place = ReplyOrder::Anywhere;
    let waiter = Waiter { outbox: stage.outbox.clone(), id: Some("7".into()), place, result_only: false };
    stage.outbox.reserve(1);
    let number =
        stage.batches.circle().seats.insert(1, waiter, BatchSubscriberState { round: 0, told: None });
    stage.batches.count.fetch_add(1, Ordering::SeqCst);
    let story = stage.batches.info(1).await.unwrap();
    stage.change(AdminCommand::SealBatch(1)).await;
    stage.settle(1).await;
    stage.batches.publish_changed().await;
    assert!(stage.sent().is_empty());
    stage.batches.begin(number, story);
    stage.batches.publish_changed().await;
    assert_eq!(stage.sent(), ["watching open 0/1", "ended ended 1/1"]);
    assert!(stage.is_left());
}

#[tokio::test]
async fn an_answer_from_before_the_first_line_is_asked_for_again() {
    let stage = Stage::new(2).await;
    let old = stage.batches.info(1).await.unwrap();
    stage.change(AdminCommand::SealBatch(1)).await;
    stage.settle(1).await;
    stage.follow().await;
    // A round that had begun before, and comes to its end only now.
    stage.batches.publish(0, old);
    assert_eq!(stage.sent(), ["watching running 1/2"]);
    stage.settle(1).await;
    stage.batches.publish_changed().await;
    assert_eq!(stage.sent(), ["ended ended 2/2"]);
}

#[tokio::test]
async fn who_does_not_read_misses_news_but_not_the_end() {
    let stage = Stage::new(1_000).await;
    stage.follow().await;
    stage.change(AdminCommand::SealBatch(1)).await;
    for _ in 0..1_000 {
        stage.settle(1).await;
        stage.batches.publish_changed().await;
    }
    let sent = stage.sent();
    assert!(sent.len() < 100, "{}", sent.len());
    assert_eq!(sent.last().unwrap(), "ended ended 1000/1000");
    assert!(stage.is_left());
}

#[tokio::test]
async fn a_follower_goes_with_its_connection_and_the_others_stay() {
    let stage = Stage::new(1).await;
    let other = Arc::new(Outbox::new(4096));
    stage.batches.subscribe(&other, 1, None).await.unwrap();
    stage.follow().await;
    stage.follow().await;
    stage.batches.remove_connection(&stage.outbox);
    assert_eq!(stage.batches.count.load(Ordering::SeqCst), 1);
    stage.batches.remove_connection(&other);
    assert!(stage.batches.is_empty() && stage.batches.circle().seats.is_empty());
}

#[tokio::test]
async fn a_batch_that_does_not_exist_cannot_be_followed() {
    let stage = Stage::new(0).await;
    let refusal = stage.batches.subscribe(&stage.outbox, 5, None).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnknownTask);
    assert!(stage.is_left());
}

#[tokio::test]
async fn a_server_that_stops_tells_the_end_that_it_knows_and_lets_nobody_wait() {
    let (complete, other) = (Stage::new(0).await, Stage::new(0).await);
    complete.follow().await;
    other.follow().await;
    complete.change(AdminCommand::SealBatch(1)).await;
    let refusal = RequestError::new(ErrorCode::ShuttingDown, "The end.");
    [&complete, &other].into_iter().for_each(|stage| stage.batches.close_all(&refusal));
    assert_eq!(complete.sent(), ["watching open 0/0", "ended ended 0/0"]);
    let mut output = Vec::new();
    other.outbox.collect(&mut output);
    assert!(String::from_utf8(output).unwrap().contains("shutting_down"));
    assert!(complete.is_left() && other.is_left());
}
