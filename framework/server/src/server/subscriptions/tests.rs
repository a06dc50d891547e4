//! Who hears what of a task, and when.

use framework_console::config::Config;
use framework_protocol::task::{Attempt, AttemptContext, Handler, Handlers, NewTask, Outcome};

use super::*;
use crate::store::{Clock, Disposition, Lease, Memory, Settlement, StoreOptions};

static HANDLER: Handler = Handler::missing("slow");

/// A store with one running task, and its audience.
struct Stage {
    store: Arc<Memory>,
    subscriptions: Arc<Subscriptions>,
    outbox: Arc<Outbox>,
    lease: Lease,
    attempt: Attempt,
}

impl Stage {
    async fn new() -> Self {
        let handlers = Arc::new(Handlers::default());
        let store = Arc::new(Memory::new(StoreOptions::default(), handlers.clone(), Clock::machine()));
        store.push(vec![NewTask::with_defaults(&HANDLER, "null".into())]).await[0].clone().unwrap();
        let lease = store.take(0, 1).await.remove(0);
        let subscriptions = Arc::new(Subscriptions::new(store.clone()));
        let context =
            AttemptContext { config: Config::at("/no/project", []), handlers, sink: subscriptions.clone() };
        let attempt = Attempt::new(lease.task.clone(), 1, Arc::new(context));
        Self { store, subscriptions, outbox: Arc::new(Outbox::new(4096)), lease, attempt }
    }

    async fn follow(&self) {
        self.subscriptions.subscribe(&self.outbox, 0, Some("7")).await.unwrap();
    }

    /// The task ends in the store, as the finisher sees to it.
    async fn settle(&self) {
        let settlement = Settlement {
            task: 0,
            token: self.lease.token,
            disposition: Disposition::Done("1".into()),
            started_ms: 0,
            ran: std::time::Duration::ZERO,
            follow: Vec::new(),
        };
        assert_eq!(self.store.settle(vec![settlement]).await, [true]);
    }

    /// The notifier tells of it.
    fn tell(&self) {
        self.subscriptions.ended(&[Finished {
            task: self.lease.task.clone(),
            state: State::Done,
            attempts: 1,
            outcome: Outcome::Done("1".into()),
            running: std::time::Duration::ZERO,
        }]);
    }

    /// What was sent, without what is the same in all lines.
    fn sent(&self) -> Vec<String> {
        let mut output = Vec::new();
        self.outbox.collect(&mut output);
        let lines = String::from_utf8(output).unwrap();
        let rest = |line: &str| line.strip_prefix("{\"id\":7,\"task_id\":0,\"status\":").unwrap().to_owned();
        lines.lines().map(rest).collect()
    }
}

#[tokio::test]
async fn a_follower_hears_what_there_was_then_each_news_and_the_end_once() {
    let stage = Stage::new().await;
    stage.attempt.progress(1.0, "before");
    stage.follow().await;
    stage.attempt.log("on the way");
    stage.attempt.progress(99.5, "almost");
    stage.settle().await;
    stage.tell();
    stage.tell();
    assert_eq!(
        stage.sent(),
        [
            "\"watching\",\"state\":\"running\"}",
            "\"progress\",\"percent\":1.0,\"text\":\"before\"}",
            "\"log\",\"attempt\":1,\"text\":\"on the way\"}",
            "\"progress\",\"percent\":99.5,\"text\":\"almost\"}",
            "\"done\",\"result\":1}",
        ]
    );
    assert!(stage.outbox.is_settled() && stage.subscriptions.is_empty());
}

#[tokio::test]
async fn who_comes_after_the_end_hears_of_it_whether_or_not_it_has_been_told() {
    let stage = Stage::new().await;
    stage.settle().await;
    for _ in 0..2 {
        stage.follow().await;
        assert_eq!(stage.sent(), ["\"watching\",\"state\":\"done\"}", "\"done\",\"result\":1}"]);
        stage.tell();
        assert!(stage.sent().is_empty());
    }
    assert!(stage.outbox.is_settled() && stage.subscriptions.is_empty());
}

#[tokio::test]
async fn what_comes_while_the_store_is_asked_is_held_back_and_not_lost() {
    let stage = Stage::new().await;
    let place = ReplyOrder::Anywhere;
    let waiter = Waiter { outbox: stage.outbox.clone(), id: Some("7".into()), place, result_only: false };
    stage.outbox.reserve(1);
    let number = stage.subscriptions.seats().insert(
        0,
        waiter,
        SubscriberState { listens: true, held: Some(Buffered::default()) },
    );
    stage.subscriptions.count.fetch_add(1, Ordering::SeqCst);
    let story = stage.subscriptions.details(0).await.unwrap();
    stage.attempt.log("meanwhile");
    stage.settle().await;
    stage.tell();
    assert!(stage.sent().is_empty());
    stage.subscriptions.begin(0, number, &story);
    let log = "\"log\",\"attempt\":1,\"text\":\"meanwhile\"}";
    assert_eq!(stage.sent(), ["\"watching\",\"state\":\"running\"}", log, "\"done\",\"result\":1}"]);
    assert!(stage.outbox.is_settled() && stage.subscriptions.is_empty());
}

#[tokio::test]
async fn a_follower_goes_with_its_connection_and_the_others_stay() {
    let stage = Stage::new().await;
    let other = Arc::new(Outbox::new(4096));
    stage.subscriptions.subscribe(&other, 0, None).await.unwrap();
    for _ in 0..3 {
        stage.follow().await;
    }
    stage.subscriptions.remove_connection(&other);
    assert_eq!(stage.subscriptions.count.load(Ordering::SeqCst), 3);
    stage.subscriptions.remove_connection(&stage.outbox);
    assert!(stage.subscriptions.is_empty());
    assert!(stage.subscriptions.seats().is_empty());
}

#[tokio::test]
async fn a_task_that_does_not_exist_cannot_be_followed() {
    let stage = Stage::new().await;
    let refusal = stage.subscriptions.subscribe(&stage.outbox, 5, None).await.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::UnknownTask);
    assert!(stage.outbox.is_settled() && stage.subscriptions.is_empty());
}

#[tokio::test]
async fn who_does_not_read_misses_news_but_not_the_end() {
    let stage = Stage::new().await;
    stage.follow().await;
    for number in 0..1000 {
        stage.attempt.log(number);
    }
    stage.settle().await;
    stage.tell();
    let sent = stage.sent();
    assert!(sent.len() < 100, "{}", sent.len());
    assert_eq!(sent.last().unwrap(), "\"done\",\"result\":1}");
}

#[tokio::test]
async fn a_server_that_stops_lets_nobody_wait() {
    let stage = Stage::new().await;
    stage.follow().await;
    stage.subscriptions.close_all(&RequestError::new(ErrorCode::ShuttingDown, "The end."));
    assert!(stage.outbox.load().1 == 0 && stage.subscriptions.is_empty());
    stage.tell();
}
