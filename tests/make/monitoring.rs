//! The files that `make:monitoring` writes: Prometheus takes them, and they name figures that there are.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::curl::curl;
use crate::harness::server::Server;
use crate::harness::{Ran, installed};

/// The figures of this program that a text names, without the endings of their samples.
fn named(text: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter| !is_name(letter)).filter(|word| word.starts_with("think_"));
    words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn make_monitoring_writes_what_prometheus_and_grafana_take() {
    installed();
    let server = Server::start();
    server.think(&["make:monitoring"]).exits(0);
    let file = |name: &str| server.project.read(&format!("monitoring/{name}"));
    assert!(file("prometheus.yml").contains(&format!("targets: [\"{}\"]", server.address)));

    // It checks the rules that the configuration names, too.
    let mut check = Command::new("promtool");
    check.args(["check", "config", "prometheus.yml"]).current_dir(server.project.path("monitoring"));
    let ran = Ran::finish(check.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).exits(0);
    assert!(ran.stdout.contains("8 rules found"), "{ran:?}");

    let board: Value = serde_json::from_str(&file("think-dashboard.json")).unwrap();
    assert!(board["panels"].as_array().unwrap().len() > 10);
    let figures = curl(&server, &["/metrics"]).is(200).body;
    let there: BTreeSet<_> = figures.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let there: BTreeSet<_> =
        there.iter().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    for name in named(&(file("think.rules.yml") + &file("think-dashboard.json"))) {
        assert!(there.contains(&name), "there is no figure {name} in {there:?}");
    }

    let ran = server.think(&["make:monitoring"]).exits(1);
    assert!(ran.stderr.contains("monitoring/prometheus.yml") && ran.stderr.contains("--force"), "{ran:?}");
    server.think(&["make:monitoring", "--force", "--address", "10.0.0.7:9600"]).exits(0);
    assert!(file("prometheus.yml").contains("targets: [\"10.0.0.7:9600\"]"));
}
