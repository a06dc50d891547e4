//! Clients that wait for ends, and what is left of them.

use std::time::Duration;

use framework_console::config::Config;
use framework_protocol::task::{Handlers, NewTask, TaskRecord};
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::*;
use crate::server::{Server, ServerHandle, ServerSettings};
use crate::store::{Clock, Memory, StoreOptions};

/// The bound on every wait.
const SOON: Duration = Duration::from_secs(30);

fn waiter(outbox: &Arc<Outbox>, id: Option<&str>) -> Waiter {
    let place = ReplyOrder::Anywhere;
    Waiter { outbox: outbox.clone(), id: id.map(Into::into), place, format: EndFormat::Reply }
}

#[test]
fn answer_sends_the_end_of_a_task_to_its_client_and_forgets_it() {
    let waiters = Waiters::default();
    let outbox = Arc::new(Outbox::new(1024));
    outbox.reserve(1);
    waiters.register([(7, waiter(&outbox, Some("\"a\"")))].into_iter());
    let new = NewTask::without_handler("any", "null".into());
    let task = Arc::new(TaskRecord::new(7, new, std::time::Instant::now(), 0));
    let outcome = Outcome::Done("1".into());
    waiters.answer(&[Finished { task, state: State::Done, attempts: 1, outcome, running: Duration::ZERO }]);
    let mut sent = Vec::new();
    outbox.collect(&mut sent);
    assert_eq!(
        String::from_utf8(sent).unwrap(),
        "{\"id\":\"a\",\"task_id\":7,\"status\":\"done\",\"result\":1}\n"
    );
    assert!(outbox.is_settled(), "nothing more is owed");
    assert_eq!(waiters.count.load(Ordering::Acquire), 0);
    assert!(waiters.waiting().by_connection.is_empty());
}

/// A server without a control socket, a disk, or a schedule.
async fn start() -> ServerHandle {
    let root = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(root.path().join("config")).unwrap();
    // Registered for the tests of schedules.
    let schedules = "[test_sweep]\nenabled = false\n[test_remind]\nargs.whom = \"\"\nenabled = false\n";
    std::fs::write(root.path().join("config/schedule.toml"), schedules).unwrap();
    let handlers = Arc::new(Handlers::collect().unwrap());
    let store = Arc::new(Memory::new(StoreOptions::default(), handlers.clone(), Clock::machine()));
    let settings = ServerSettings { port: 0, control_socket: "".into(), ..ServerSettings::default() };
    let config = Config::at(root.path(), []);
    Server { config, settings, handlers, events: Arc::new(()), store, pages: None }.start().await.unwrap()
}

/// Waits until so many clients wait.
async fn wait_until_count(waiters: &Waiters, count: usize) {
    let begun = Instant::now();
    while waiters.count.load(Ordering::Acquire) != count {
        assert!(begun.elapsed() < SOON, "{count} clients wait, and not {:?}", waiters.count);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn clients_that_wait_and_hang_up_leave_nothing_behind() {
    let server = start().await;
    let address = server.addresses()[0].address.clone();
    let waiters = server.replies.waiters.clone();
    let line = r#"{"function":"test_at_once","args":null,"delay":"1h","reply":"both"}"#;
    let http = "POST /tasks/test_at_once?delay=1h&wait=60s HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: application/json\r\nContent-Length: 4\r\n\r\nnull";
    for _ in 0..10 {
        let mut clients = Vec::new();
        for client in 0..100 {
            let stream = TcpStream::connect(&address).await.unwrap();
            // To a client that only ends its side, the results are still sent.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            let mut stream = BufReader::new(stream);
            let request = if client % 2 == 0 { format!("{line}\n") } else { http.to_owned() };
            stream.write_all(request.as_bytes()).await.unwrap();
            if client % 2 == 0 {
                let mut reply = String::new();
                stream.read_line(&mut reply).await.unwrap();
                assert!(reply.contains("queued"), "{reply}");
            }
            clients.push(stream);
        }
        wait_until_count(&waiters, clients.len()).await;
        drop(clients);
        wait_until_count(&waiters, 0).await;
    }
    let waiting = waiters.waiting();
    assert!(waiting.by_task.is_empty() && waiting.by_connection.is_empty(), "{waiting:?}");
}

#[test]
fn waiters_of_a_connection_that_has_ended_are_removed() {
    let waiters = Waiters::default();
    let connect = || Arc::new(Outbox::new(64));
    let (left, stayed, gone) = (connect(), connect(), connect());
    gone.abandon();
    let of = |outbox: &Arc<Outbox>, tasks: std::ops::Range<TaskId>| {
        waiters.register(tasks.map(|task| (task, waiter(outbox, None))));
    };
    of(&left, 0..100);
    of(&stayed, 100..200);
    of(&left, 200..300);
    of(&gone, 300..400);
    assert_eq!(waiters.waiting().by_connection.len(), 2);
    waiters.remove_connection(&left);
    let waiting = waiters.waiting();
    let mut tasks: Vec<_> = waiting.by_task.keys().copied().collect();
    tasks.sort_unstable();
    assert_eq!(tasks, Vec::from_iter(100..200));
    assert_eq!((waiting.by_connection.len(), Arc::strong_count(&left)), (1, 1));
}

#[test]
fn waiters_remember_about_as_many_tasks_of_a_connection_as_it_awaits() {
    let outbox = Arc::new(Outbox::new(64));
    let mut map = WaiterMap::default();
    for task in 0..10_000 {
        map.insert([(task, waiter(&outbox, None))].into_iter());
        if task > 0 {
            map.by_task.remove(&task);
            map.release(address(&outbox), 1);
        }
    }
    let awaited = &map.by_connection[&address(&outbox)];
    assert!(awaited.count == 1 && awaited.tasks.len() < 100, "{}", awaited.tasks.len());
    assert_eq!(awaited.tasks[0], 0);
}

#[test]
fn bare_result_cannot_be_taken_for_a_reply() {
    let waiter = |result_only| Waiter {
        outbox: Arc::new(Outbox::new(64)),
        id: None,
        place: ReplyOrder::Anywhere,
        format: if result_only { EndFormat::ResultOnly } else { EndFormat::Reply },
    };
    let done = |result_only, result: &str| {
        let mut bytes = Vec::new();
        waiter(result_only).render_done(7, result.as_bytes(), &mut bytes);
        String::from_utf8(bytes).unwrap()
    };
    for alone in ["null", "\"status\"", "[\"status\"]", "{}", r#"{"state":1,"in":{"status":2}}"#] {
        assert_eq!(done(true, alone), format!("{alone}\n"));
    }
    for whole in [r#"{"status":"done"}"#, r#"{"a":1,"status":null}"#, r#"{"status":1,"status":2}"#] {
        assert_eq!(done(true, whole), format!("{{\"task_id\":7,\"status\":\"done\",\"result\":{whole}}}\n"));
    }
    assert_eq!(done(false, "1"), "{\"task_id\":7,\"status\":\"done\",\"result\":1}\n");
}
