//! `GET /metrics`: what Prometheus reads is what the ledger says.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use super::with_settings;
use crate::harness::curl::curl;
use crate::harness::eventually::eventually;
use crate::harness::metrics::is_idle;
use crate::harness::server::Server;
use crate::harness::{Ran, installed};

/// The values by the name of the metric and its labels, as they are written.
fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let response = curl(server, &["/metrics"]).is(200);
    let lines = response.body.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// The sum of the values whose name begins so and whose labels have this in them.
fn sum(metrics: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let of_name = |key: &&String| key.split('{').next() == Some(name) && key.contains(label);
    metrics.keys().filter(of_name).map(|key| metrics[key]).sum()
}

/// Runs tasks that end in every way, some of them made by others.
fn run_tasks(server: &Server) {
    server.project.write("config/mail.toml", "folder = \"config/server.toml\"\n");
    let mut client = server.connect();
    let lines = [
        r#"{"function":"echo","args":"x","then":["echo"]}"#,
        r#"{"function":"echo","args":"x","queue":"mail"}"#,
        r#"{"function":"echo","args":"same","key":"k"}"#,
        r#"{"function":"echo","args":"same","key":"k"}"#,
        r#"{"function":"echo","args":"late","delay":60}"#,
        r#"{"function":"echo","args":"never","delay":60,"expires":"1ms"}"#,
        r#"{"function":"send_mail","args":{"to":"a@example.com","content":"x"},"attempts":2,"backoff":"1ms"}"#,
    ];
    for line in lines {
        let reply = client.send(format!("{line}\n")).json();
        assert_eq!(reply["status"], "queued", "{reply}");
        if line.contains("late") {
            curl(server, &["-X", "DELETE", &format!("/tasks/{}", reply["task_id"])]).is(200);
        }
    }
    server.project.write("batch.ndjson", "\"a\"\n\"b\"\n");
    let file = server.project.path("batch.ndjson");
    server.think(&["task:batch", "echo", file.to_str().unwrap(), "--then", "batch_ended"]).exits(0);
}

fn figures_agree_with_the_ledger(settings: &str) {
    let server = with_settings(settings);
    run_tasks(&server);
    let ledger = eventually("all tasks have ended", || Some(server.ledger()).filter(is_idle));
    let metrics = metrics(&server);
    let number = |name: &str| ledger[name].as_f64().unwrap();
    assert_eq!(sum(&metrics, "think_tasks_accepted_total", ""), number("accepted"), "{ledger} {metrics:?}");
    for outcome in ["done", "failed", "cancelled", "expired"] {
        let label = format!("\"{outcome}\"");
        let ended = sum(&metrics, "think_tasks_ended_total", &label);
        assert_eq!(
            (ended, sum(&metrics, "think_tasks", &label)),
            (number(outcome), number(outcome)),
            "{outcome}"
        );
    }
    assert_eq!((number("failed"), number("cancelled"), number("expired")), (1.0, 1.0, 1.0), "{ledger}");
    let value = |key: &str| *metrics.get(key).unwrap_or_else(|| panic!("no {key} in {metrics:?}"));
    assert_eq!(value(r#"think_tasks_accepted_total{function="echo",queue="mail"}"#), 1.0);
    assert_eq!(value(r#"think_attempts_retried_total{function="send_mail",queue="mail"}"#), 1.0);
    assert_eq!(value(r#"think_attempt_run_seconds_count{function="send_mail",queue="mail"}"#), 2.0);
    assert_eq!(
        value(r#"think_task_wait_seconds_bucket{function="batch_ended",queue="default",le="+Inf"}"#),
        1.0
    );
    assert_eq!(value("think_connections_refused_total"), 0.0);
    assert!(value("process_resident_memory_bytes") > 1e6 && value("process_cpu_seconds_total") > 0.0);
    let is_durable = settings.is_empty();
    assert_eq!(metrics.get("think_store_commits_total").is_some_and(|commits| *commits > 0.0), is_durable);
    assert_eq!(metrics.contains_key("think_store_free_bytes"), is_durable);
}

#[test]
fn metrics_of_a_file_agree_with_the_ledger() {
    figures_agree_with_the_ledger("");
}

#[test]
fn metrics_of_memory_agree_with_the_ledger() {
    figures_agree_with_the_ledger("durability = \"memory\"\n");
}

#[test]
fn metrics_pass_the_check_of_prometheus() {
    installed();
    let server = with_settings("max_connection = 10\n");
    run_tasks(&server);
    let text = curl(&server, &["/metrics"]).is(200);
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(text.body.as_bytes()).unwrap();
    let ran = Ran::finish(check).exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

#[test]
fn metrics_are_openmetrics_where_that_is_asked_for() {
    let server = with_settings("");
    // As Prometheus does.
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let text = curl(&server, &["-H", accept, "/metrics"]).is(200);
    assert!(text.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(
        text.body.ends_with("# EOF\n") && text.body.contains("# TYPE think_tasks_accepted counter\n"),
        "{text:?}"
    );
    curl(&server, &["-H", "Accept: application/json", "/metrics"]).is(406);
}

#[test]
fn metrics_need_a_token_that_inspects() {
    let server = with_settings("tokens = \"sender-0123456789abcdef:send,looker-0123456789abcdef:inspect\"\n");
    curl(&server, &["/metrics"]).is(401);
    let refused = curl(&server, &["-H", "Authorization: Bearer sender-0123456789abcdef", "/metrics"]).is(403);
    assert_eq!(refused.json()["code"], json!("forbidden"));
    let text = curl(&server, &["-H", "Authorization: Bearer looker-0123456789abcdef", "/metrics"]).is(200);
    assert!(text.body.contains("think_limit_hits_total{limit=\"failed_auth\"} 0"), "{text:?}");
}
