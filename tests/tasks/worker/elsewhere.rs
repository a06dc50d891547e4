//! The same handlers on a worker outside of the server, in a process or a thread of its own.

use framework::client::{ClientSettings, TaskEvent, WorkerOptions, WorkerStop};
use framework::protocol::worker::registration;
use framework::server::HandlerRunner;
use framework::store::{AdminCommand, Query, QueryResult};
use framework::views::TaskSelector;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;

/// A server that runs no task itself, and a worker that runs all.
struct Elsewhere {
    server: TestServer,
    stop: watch::Sender<WorkerStop>,
    worker: JoinHandle<()>,
}

impl Elsewhere {
    async fn open(events: impl Events) -> Self {
        Self::with(settings(), events).await
    }

    async fn with(settings: ServerSettings, events: impl Events) -> Self {
        let server = TestServer::with(ServerSettings { task_worker_num: 0, ..settings }, events).await;
        let client = Client::new(ClientSettings::for_address(&server.address).unwrap()).unwrap();
        let handlers = Arc::new(Handlers::collect().unwrap());
        let config = Config::at(server.root.path(), []);
        let mut runner = HandlerRunner::new(config, handlers.clone(), Arc::new(()), 2, 8).unwrap();
        let options = WorkerOptions {
            name: "elsewhere".to_owned(),
            language: "rust".to_owned(),
            functions: handlers.iter().map(registration).collect(),
            queues: Vec::new(),
            concurrency: 8,
            grace: PATIENCE,
        };
        let (stop, stopped) = watch::channel(WorkerStop::No);
        let worker = tokio::spawn(async move {
            client.work(&options, &handlers, &mut runner, stopped).await.unwrap();
        });
        Self { server, stop, worker }
    }

    /// Lets the worker go.
    async fn close(self) {
        self.stop.send_replace(WorkerStop::Graceful);
        in_time("the worker goes", self.worker).await.unwrap();
    }
}

#[tokio::test]
async fn outcomes_are_those_of_a_worker_of_the_server() {
    let elsewhere = Elsewhere::open(()).await;
    let run = async |function, args| elsewhere.server.run(function, args).await;
    assert_eq!(done(run("test_shout", "hi".into()).await).get(), "\"HI\"");
    assert_eq!(done(run("test_third_time", ().into()).await).get(), "3");
    for function in ["test_panic", "test_blocking_panic"] {
        let error = failed(run(function, "oh".into()).await);
        assert!(error.contains("oh") && error.contains("handlers.rs:"), "{error}");
    }
    for (retry, attempt) in [(true, 3), (false, 1)] {
        let error = failed(run("test_never", serde_json::json!({ "retry": retry })).await);
        assert_eq!(error, format!("attempt {attempt}: out of luck"));
    }
    for function in ["test_forever", "test_blocking_until_cancelled"] {
        let error = failed(run(function, ().into()).await);
        assert!(error.contains("longer than its timeout of 20ms"), "{error}");
    }
    let ledger = elsewhere.server.ledger().await;
    assert_eq!((ledger.done, ledger.failed, ledger.running), (2, 6, 0));
    elsewhere.close().await;
}

#[tokio::test]
async fn pushed_and_chained_tasks_follow_a_success_elsewhere() {
    let (ends, mut reported) = ends();
    let elsewhere = Elsewhere::open(EndReporter { ends, gate: None }).await;
    let mut client = elsewhere.server.client().await;
    let pushes = request("test_pushes", serde_json::json!(null));
    let shouts = Request { then: vec!["test_shout".into()], ..request("test_shout", "hi".into()) };
    client.send(&pushes).await.unwrap();
    client.send(&shouts).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(next_end(&mut reported).await);
    }
    assert!(seen.iter().all(|(_, state)| *state == State::Done), "{seen:?}");
    assert_eq!(elsewhere.server.ledger().await.accepted, 7, "two and three pushed, and one chained");
    elsewhere.close().await;
}

#[tokio::test]
async fn progress_and_log_of_a_worker_elsewhere_reach_followers_and_stay_with_the_task() {
    let elsewhere = Elsewhere::open(()).await;
    let gate = Gate::new();
    let mut client = elsewhere.server.client().await;
    let id = client.send(&request("test_tells", gate.name())).await.unwrap();
    let mut events = client.follow(id).await.unwrap();
    gate.reached().await;
    gate.open();
    let mut seen = Vec::new();
    while let Some(event) = in_time("an event", events.next()).await.unwrap() {
        seen.push(event);
    }
    assert!(matches!(seen.last(), Some(TaskEvent::Ended(TaskEnd::Done(_)))), "{seen:?}");
    let QueryResult::Task(story) = elsewhere.server.store.query(Query::Task(id)).await.unwrap() else {
        panic!()
    };
    assert_eq!(story.notes.progress.unwrap().text, "1 of 2");
    let log: Vec<_> = story.notes.log.iter().map(|line| (line.attempt, &*line.text)).collect();
    assert_eq!(log, [(1, "first line"), (1, "second line"), (1, "third line")]);
    elsewhere.close().await;
}

#[tokio::test]
async fn cancel_reaches_a_handler_elsewhere() {
    let elsewhere = Elsewhere::open(()).await;
    for (function, args) in [
        ("test_gate", &(|gate: &Gate| gate.name()) as &dyn Fn(&Gate) -> _),
        ("test_blocks_until_asked", &|gate: &Gate| serde_json::json!([gate.name(), false])),
    ] {
        let gate = Gate::new();
        let mut client = elsewhere.server.client().await;
        let id = client.send_awaited(&request(function, args(&gate))).await.unwrap();
        gate.reached().await;
        let cancel = AdminCommand::Cancel(TaskSelector::Task(id));
        elsewhere.server.store.apply(cancel).await.unwrap();
        let outcome = client.ended().await.unwrap().1;
        assert!(matches!(outcome, TaskEnd::Cancelled(_)), "{function}: {outcome:?}");
    }
    elsewhere.close().await;
}

#[tokio::test]
async fn busy_handlers_elsewhere_do_not_hold_up_heartbeats() {
    // Long enough for heartbeats on a busy machine.
    let lease = Duration::from_secs(2);
    let elsewhere = Elsewhere::with(ServerSettings { worker_lease_time: lease, ..settings() }, ()).await;
    let gates = [Gate::new(), Gate::new()];
    let mut client = elsewhere.server.client().await;
    for gate in &gates {
        client.send_awaited(&request("test_spin", gate.name())).await.unwrap();
        gate.reached().await;
    }
    tokio::time::sleep(2 * lease).await;
    gates.iter().for_each(Gate::open);
    for _ in &gates {
        assert_eq!(done(client.ended().await.unwrap().1).get(), "null");
    }
    for id in 0..2 {
        let QueryResult::Task(task) = elsewhere.server.store.query(Query::Task(id)).await.unwrap() else {
            panic!()
        };
        assert_eq!(task.summary.attempts, 1, "its lease was not lost");
    }
    elsewhere.close().await;
}

#[tokio::test]
async fn many_tasks_run_elsewhere_to_their_ends() {
    let elsewhere = Elsewhere::open(()).await;
    let client = elsewhere.server.client().await;
    let tasks: Vec<_> = (0..500).map(|number| request("test_shout", number.to_string().into())).collect();
    assert!(client.send_many(&tasks).await.unwrap().iter().all(Result::is_ok));
    in_time("all tasks end", async {
        while elsewhere.server.ledger().await.done < 500 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    elsewhere.close().await;
}
