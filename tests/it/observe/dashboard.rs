//! The dashboard and the alert rules in `docs/`, read by a Prometheus that has what the crate records.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::IntoFuture,
    process::Command,
    time::{Duration, Instant},
};

use axum::{Router, extract::Request, response::Response, routing::get};
use cloakroom::{EndReason, Rejection, Session, SessionLayer, StoreCall};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use serde_json::Value;
use tower::{Layer as _, service_fn};

use super::{
    alerts::{ALERTS, alerts},
    metering::{a_busy_day, documented},
};
use crate::support::{
    Visitor,
    process::{Directory, Process, free_port, program},
};

const DASHBOARD: &str = include_str!("../../../docs/grafana.json");

fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for (metric, buckets) in cloakroom::metric_buckets() {
        let matcher = Matcher::Full(metric.to_owned());
        builder = builder.set_buckets_for_metric(matcher, buckets).unwrap();
    }
    builder.build_recorder()
}

/// What an exporter says after a day on which everything has happened.
fn exported() -> String {
    let recorder = recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(a_busy_day()));
    handle.render()
}

/// The expressions of the dashboard, with its variables as Grafana fills them in.
fn dashboard_expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    targets
        .flatten()
        .map(|target| {
            let expression = target["expr"].as_str().unwrap();
            expression
                .replace("$__rate_interval", "1m")
                .replace("$layer", ".*")
                .replace("$store", ".*")
                .replace("$instance", ".*")
        })
        .collect()
}

/// The names of metrics in `text`.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.split(|character| !is_name(character))
        .filter(|word| word.starts_with("cloakroom_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_metric_of_the_docs_is_on_the_dashboard() {
    let shown = names(&dashboard_expressions().join("\n"));
    for [name, kind, ..] in documented() {
        let is_shown = match kind.as_str() {
            "histogram" => shown.contains(&format!("{name}_bucket")),
            _ => shown.contains(&name),
        };
        assert!(is_shown, "{name}");
    }
}

/// The lines of each counter that the docs list, with each of its labels, at zero.
fn counters_at_zero() -> impl Iterator<Item = String> {
    let counters = documented().filter(|[_, kind, ..]| kind == "counter");
    counters.flat_map(|[name, _, label, _]| {
        let values: Vec<&str> = match (name.as_str(), label.as_str()) {
            (_, "") => vec![""],
            ("cloakroom_sessions_ended_total", _) => EndReason::ALL.map(EndReason::name).to_vec(),
            (_, "reason") => Rejection::ALL.map(Rejection::name).to_vec(),
            _ => StoreCall::ALL.map(StoreCall::name).to_vec(),
        };
        values.into_iter().map(move |value| {
            let further = match value {
                "" => String::new(),
                value => format!(",{label}=\"{value}\""),
            };
            format!("{name}{{layer=\"__Host-id\",store=\"MemoryStore\"{further}}} 0")
        })
    })
}

#[test]
fn each_counter_is_exported_before_anything_happens() {
    let recorder = recorder();
    let layer = SessionLayer::default().reap_every(None);
    metrics::with_local_recorder(&recorder, || {
        let _ = layer.layer(service_fn(async |_: Request| {
            Ok::<Response, Infallible>(Response::default())
        }));
    });
    let page = recorder.handle().render();
    let lines: BTreeSet<&str> = page.lines().collect();
    for counter in counters_at_zero() {
        assert!(lines.contains(counter.as_str()), "{counter}\n{page}");
    }
}

#[test]
fn a_recorder_that_comes_after_the_layer_has_each_counter_from_the_first_request_on() {
    let layer = SessionLayer::default().reap_every(None);
    let _ = layer.sessions();
    let recorder = recorder();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(Visitor::new(&layer).visit(async |session: Session| {
            session.insert("n", 1).unwrap();
        }));
    });
    let page = recorder.handle().render();
    let lines: BTreeSet<&str> = page.lines().collect();
    for counter in counters_at_zero() {
        let is_created = counter.starts_with("cloakroom_sessions_created_total");
        assert!(
            is_created || lines.contains(counter.as_str()),
            "{counter}\n{page}"
        );
    }
}

struct Prometheus {
    url: String,
    client: reqwest::Client,
    _process: Process,
    directory: Directory,
}

impl Prometheus {
    /// Reads what `exporter` serves, and the alert rules.
    fn start(exporter: u16) -> Self {
        let (directory, port) = (Directory::new(), free_port());
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("alerts.yml"), ALERTS).unwrap();
        let configuration = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: [ alerts.yml ]\n\
             scrape_configs:\n- job_name: site\n  static_configs:\n  - targets: [ '127.0.0.1:{exporter}' ]\n"
        );
        std::fs::write(at("prometheus.yml"), configuration).unwrap();
        let mut command = Command::new(program("prometheus", "prometheus"));
        command
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Self {
            url: format!("http://127.0.0.1:{port}/api/v1"),
            client: reqwest::Client::new(),
            _process: Process::start(&command, &at("log"), "TERM"),
            directory,
        }
    }

    async fn ask(&self, path: &str, query: &str) -> Option<Value> {
        let parameters = [("query", query)];
        let url = format!("{}/{path}", self.url);
        let request = self.client.post(url).form(&parameters);
        let reply = match path {
            "query" => request.send().await,
            _ => self.client.get(format!("{}/{path}", self.url)).send().await,
        };
        serde_json::from_str(&reply.ok()?.text().await.ok()?).ok()
    }

    /// Waits until each alert rule has been evaluated without an error.
    async fn evaluated(&self) {
        let began = Instant::now();
        loop {
            let rules = self.ask("rules", "").await.unwrap();
            let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
            assert_eq!(rules.len(), alerts().count());
            if rules.iter().all(|rule| rule["health"] == "ok") {
                return;
            }
            // "unknown" before the first evaluation.
            assert!(began.elapsed() < Duration::from_secs(60), "{rules:?}");
            assert!(
                rules.iter().all(|rule| rule["health"] != "err"),
                "{rules:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Once it has read the exporter.
    async fn names(&self) -> BTreeSet<String> {
        let began = Instant::now();
        loop {
            let reply = self.ask("label/__name__/values", "").await;
            let names: BTreeSet<String> = reply
                .as_ref()
                .and_then(|reply| reply["data"].as_array())
                .into_iter()
                .flatten()
                .filter_map(|name| Some(name.as_str()?.to_owned()))
                .collect();
            if names.iter().any(|name| name.starts_with("cloakroom_")) {
                return names;
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{reply:?}\n{}",
                std::fs::read_to_string(self.directory.path().join("log")).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_knows_each_name_of_the_dashboard_and_of_the_alerts() {
    let page = std::thread::spawn(exported).join().unwrap();
    let app = Router::new().route("/metrics", get(move || std::future::ready(page.clone())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let exporter = listener.local_addr().unwrap().port();
    tokio::spawn(axum::serve(listener, app).into_future());
    let prometheus = Prometheus::start(exporter);
    let known = prometheus.names().await;

    let expressions = dashboard_expressions();
    assert!(expressions.len() > 15);
    for expression in &expressions {
        let reply = prometheus.ask("query", expression).await.unwrap();
        assert_eq!(reply["status"], "success", "{expression}: {reply}");
    }
    let mut asked = names(&expressions.join("\n"));
    asked.extend(names(ALERTS));
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");

    prometheus.evaluated().await;
}
