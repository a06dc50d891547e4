//! Groups of workers: queues that do not wait for other queues.

use serde::{Deserialize, Serialize};

use super::*;

fn with_queues(queues: &[(&str, usize)]) -> ServerSettings {
    let task_queues = queues.iter().map(|(queue, workers)| ((*queue).to_owned(), *workers)).collect();
    ServerSettings { task_queues, ..settings() }
}

#[tokio::test]
async fn worker_group_does_not_wait_for_others() {
    let server = TestServer::with(with_queues(&[("test_own", 2), ("*", 1)]), ()).await;
    let (busy, own) = (Gate::new(), Gate::new());
    let mut client = server.client().await;
    client.send(&request("test_gate", busy.name())).await.unwrap();
    client.send(&request("test_own_queue", own.name())).await.unwrap();
    busy.reached().await;
    own.reached().await;
    let other = client.send(&request("test_shout", serde_json::json!("x"))).await.unwrap();
    let status = client.status().await.unwrap();
    let busy_of = |line: &str| (status.worker_groups[line].busy, status.worker_groups[line].total);
    assert_eq!((busy_of("test_own"), busy_of("*")), ((1, 2), (1, 1)));
    assert_eq!((status.workers.busy, status.workers.total), (2, 3));
    assert_eq!(status.ledger.waiting, 1, "task {other} waits, although a worker of the other queue is idle");
    busy.open();
    own.open();
}

#[tokio::test]
async fn queue_without_workers_prevents_the_start() {
    let handlers = Arc::new(Handlers::collect().unwrap());
    let settings = with_queues(&[("test_own", 1)]);
    let server = Server {
        config: Config::at("/no/project", []),
        store: settings.open_store(&Config::at("/no/project", []), handlers.clone()).unwrap(),
        handlers,
        events: Arc::new(()) as Arc<dyn DynEvents>,
        settings: ServerSettings { port: 0, ..settings },
        pages: None,
    };
    let error = server.start().await.err().unwrap();
    assert!(format!("{error:#}").contains("\"*\" = 4 to task_queues"), "{error:#}");
}

#[derive(Serialize, Deserialize, Task)]
#[task(name = "test_own_queue", queue = "test_own")]
struct OwnQueue(u64);

impl Handle for OwnQueue {
    type Output = ();

    async fn handle(self, _attempt: &Attempt) -> Result<()> {
        Gate::find(self.0).pass().await;
        Ok(())
    }
}
