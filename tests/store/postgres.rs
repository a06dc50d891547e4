//! A server whose queue is in PostgreSQL: what survives, what is refused meanwhile, and whose the queue is.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framework::postgres::{Postgres, PostgresOptions};
use framework::protocol::ErrorCode;
use framework::store::{Store, StoreOptions};
use framework::task::{Handlers, NewTask};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::Project;
use crate::harness::Ran;
use crate::harness::certificates::Authority;
use crate::harness::eventually::{eventually, wait_until};
use crate::harness::postgres::Cluster;
use crate::harness::server::Server;
use crate::harness::watchdog;

fn settings(cluster: &Cluster, schema: &str) -> String {
    format!("store = \"{}\"\nstore_schema = \"{schema}\"\nstore_timeout = \"2s\"\n", cluster.address())
}

fn project(cluster: &Cluster, schema: &str) -> Project {
    Project::with_settings(&settings(cluster, schema))
}

/// Sends a request; the reply.
fn ask(server: &Server, request: &Value) -> Value {
    server.connect().send(format!("{request}\n")).json()
}

/// Pushes a task that waits; its id.
fn push(server: &Server, text: &str) -> u64 {
    let request = json!({ "function": "echo", "args": text, "delay": 3600 });
    let reply = ask(server, &request);
    reply["task_id"].as_u64().unwrap_or_else(|| panic!("{reply}"))
}

#[test]
fn tasks_in_postgres_survive_the_kill_of_the_server_and_of_the_database() {
    watchdog::watch();
    let cluster = Cluster::start();
    let mut server = Server::with(project(&cluster, "one"), "");
    let ids: Vec<_> = (0..5).map(|number| push(&server, &number.to_string())).collect();
    server.signal(Signal::KILL);
    server.exit_code();
    cluster.kill();
    cluster.run();
    let begin = Instant::now();
    let server = server.again("");
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "the lease of a process that is gone is not waited for"
    );
    let ledger = server.ledger();
    assert_eq!((&ledger["accepted"], &ledger["waiting"]), (&json!(5), &json!(5)));
    let shown = server.think(&["task:show", "--json", &ids[3].to_string()]).exits(0).json();
    assert_eq!(shown["args"], "3");
    let done = ask(&server, &json!({ "function": "echo", "args": "now", "reply": "result" }));
    assert_eq!((&done["status"], &done["result"]), (&json!("done"), &json!("now -> OK")));
    Ran::of(server.project.command().arg("task:reload")).exits(0);
    assert_eq!(server.ledger()["waiting"], 5, "the new process has taken the queue over");
    assert_eq!(cluster.sql("SELECT count(*) FROM one.tasks"), "6");
}

#[test]
fn server_refuses_while_its_database_is_gone_and_goes_on_by_itself() {
    watchdog::watch();
    let cluster = Cluster::start();
    let server = Server::with(project(&cluster, "gone"), "");
    push(&server, "before");
    cluster.kill();
    let begin = Instant::now();
    let refused = ask(&server, &json!({ "function": "echo", "args": "meanwhile" }));
    assert!(begin.elapsed() < Duration::from_secs(10), "it does not hang");
    assert!(refused["error"].is_string() || refused["code"].is_string(), "{refused}");
    wait_until("the status says so", || server.status()["storage_error"].is_string());
    wait_until("clients are to wait longer and longer", || {
        let refused = ask(&server, &json!({ "function": "echo", "args": "meanwhile" }));
        refused["retry_after_ms"].as_u64() > Some(1_500)
    });
    cluster.run();
    eventually("tasks are accepted again", || {
        let reply = ask(&server, &json!({ "function": "echo", "args": "after" }));
        reply["task_id"].as_u64()
    });
    wait_until("all is well", || server.status()["storage_error"].is_null());
    wait_until("the task runs", || server.ledger()["done"].as_u64() >= Some(1));
    assert_eq!(server.ledger()["waiting"], 1);
}

#[test]
fn second_server_is_refused_as_long_as_the_first_one_lives_and_takes_over_then() {
    watchdog::watch();
    let cluster = Cluster::start();
    let mut first = Server::with(project(&cluster, "owned"), "");
    let id = push(&first, "mine");
    let other = project(&cluster, "owned");
    let refused = Ran::of(other.command().args(["task:start", "--port", "0"])).exits(4);
    assert!(refused.stderr.contains("another server uses"), "{}", refused.stderr);
    // It stands still, and does not know that its lease ends meanwhile.
    first.signal(Signal::STOP);
    let second = Server::with(other, "");
    assert_eq!(second.ledger()["waiting"], 1);
    first.signal(Signal::CONT);
    first.line_with("Another server has taken the queue over");
    let late = ask(&first, &json!({ "function": "echo", "args": "late" }));
    assert!(late["task_id"].is_null(), "{late}");
    second.think(&["task:show", &id.to_string()]).exits(0);
    assert_eq!(cluster.sql("SELECT count(*) FROM owned.tasks"), "1");
}

#[test]
fn migrate_makes_a_schema_once_and_refuses_a_newer_one() {
    let cluster = Cluster::start();
    let project = project(&cluster, "made");
    let migrate = || Ran::of(project.command().arg("queue:migrate"));
    assert!(migrate().exits(0).stderr.contains("Made the schema made"));
    assert!(migrate().exits(0).stderr.contains("Nothing to do"));
    cluster.sql("UPDATE made.meta SET version = 1000");
    let refused = migrate().exits(1);
    assert!(refused.stderr.contains("newer version of the program"), "{}", refused.stderr);
    cluster.sql("CREATE SCHEMA foreign_one; CREATE TABLE foreign_one.a (b int)");
    let foreign = Project::with_settings(&settings(&cluster, "foreign_one"));
    let refused = Ran::of(foreign.command().arg("queue:migrate")).exits(1);
    assert!(refused.stderr.contains("another program"), "{}", refused.stderr);
    let open = "store = \"postgres://think:secret@localhost/app\"\n";
    let refused = Ran::of(Project::with_settings(open).command().arg("queue:migrate")).exits(1);
    assert!(refused.stderr.contains("store_password_file"), "{}", refused.stderr);
}

#[tokio::test]
async fn transaction_of_an_earlier_owner_is_refused_as_a_whole() {
    let cluster = Cluster::start();
    let folder = tempfile::TempDir::new().unwrap();
    let options = PostgresOptions::parse(&cluster.address(), folder.path().join("queue")).unwrap();
    let store = Postgres::start(options, StoreOptions::default(), Arc::new(Handlers::default())).unwrap();
    let task = || NewTask::without_handler("any", "1".into());
    store.push(vec![task()]).await[0].clone().unwrap();
    cluster.sql("UPDATE think.owner SET epoch = epoch + 1");
    let refused = store.push(vec![task(), task()]).await[1].clone().unwrap_err();
    assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::StorageFailed, None), "{refused}");
    assert!(store.take(0, 1).await.is_empty(), "another owner runs them now");
    assert_eq!(cluster.sql("SELECT count(*) FROM think.tasks"), "1");
}

#[test]
fn database_is_reached_by_tls_with_a_certificate_of_its_name_and_a_password() {
    let cluster = Cluster::start();
    cluster.sql("ALTER ROLE think PASSWORD 'secret'");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let [authority, other] = [0, 1].map(|_| Authority::new());
    let [certificate, key] = authority.issue("localhost").pem();
    cluster.listen(port, &certificate, &key);
    let migrate = |roots: &Authority, host: &str, password: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), roots.pem()).unwrap();
        let address = format!("postgres://think@{host}:{port}/postgres?sslmode=verify-full");
        let store = format!("{address}&sslrootcert={}", file.path().display());
        let project = Project::with_settings(&format!("store = \"{store}\"\n"));
        Ran::of(project.command().arg("queue:migrate").env("THINK_SERVER_STORE_PASSWORD", password))
    };
    migrate(&authority, "localhost", "secret").exits(0);
    for (roots, host, password) in [
        (&other, "localhost", "secret"),
        (&authority, "127.0.0.1", "secret"),
        (&authority, "localhost", "wrong"),
    ] {
        let refused = migrate(roots, host, password).exits(1);
        assert!(!refused.stderr.contains(password), "{}", refused.stderr);
    }
}

/// Connections are cut at any moment, also between a commit and its answer.
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_tasks_are_there_once_whenever_connections_are_cut() {
    watchdog::watch();
    let cluster = Cluster::start();
    let folder = tempfile::TempDir::new().unwrap();
    let options = PostgresOptions::parse(&cluster.address(), folder.path().join("queue")).unwrap();
    let handlers = Arc::new(Handlers::default());
    let store = Arc::new(Postgres::start(options, StoreOptions::default(), handlers).unwrap());
    let stops = AtomicBool::new(false);
    let (mut acknowledged, mut refused) = (BTreeSet::new(), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stops.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(fastrand::u64(..60)));
                cluster.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'think'",
                );
            }
        });
        let begin = Instant::now();
        let pushes = async {
            let mut number = 0_u64;
            while begin.elapsed() < Duration::from_secs(8) {
                let new = |number: u64| {
                    let mut task = NewTask::without_handler("any", number.to_string().into());
                    task.extra_mut().key = Some(number.to_string().into());
                    task
                };
                let batch: Vec<_> = (number..number + 5).map(new).collect();
                for result in store.push(batch).await {
                    match result {
                        Ok(accepted) => assert!(accepted.is_new() && acknowledged.insert(accepted.id)),
                        Err(_) => refused += 1,
                    }
                }
                number += 5;
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(pushes));
        stops.store(true, Ordering::Relaxed);
    });
    assert!(acknowledged.len() > 20, "{} are acknowledged, {refused} refused", acknowledged.len());
    store.unlock().await;
    let there = cluster.sql("SELECT id FROM think.tasks ORDER BY id");
    let there: BTreeSet<u64> = there.lines().map(|id| id.parse().unwrap()).collect();
    assert_eq!(acknowledged, there, "nothing refused is there, and nothing acknowledged is missing");
    assert_eq!(cluster.sql("SELECT count(DISTINCT args) FROM think.tasks"), there.len().to_string());
}
