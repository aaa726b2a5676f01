//! Prometheus, as it watches a sensor that runs: it reads the metrics, knows the alert rules, and has data for each panel of
//! the dashboard. It is Debian's own.

use super::{SOON, UPLOAD_USER, World, wait_for};
use crate::namespace::skipped;
use nix::unistd::chown;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

const METRICS: &str = "127.0.0.1:9353";
const SERVER: &str = "127.0.0.1:9090";
/// What comes with the sensor.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/monitoring");
/// Samples come every second; a minute of them is nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// A Prometheus in the world's namespace, ended when the test is.
struct Prometheus<'w> {
    world: &'w World,
    process: Child,
}

impl<'w> Prometheus<'w> {
    fn start(world: &'w World) -> Prometheus<'w> {
        let rules = format!("{SHIPPED}/sie-dns-sensor.rules.yml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [\"{rules}\"]\n\
             scrape_configs: [{{job_name: sie-dns-sensor, static_configs: [{{targets: [\"{METRICS}\"]}}]}}]\n"
        );
        fs::write(world.path("prometheus.yml"), config).unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", world.path("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", world.path("prometheus").display()));
        command.arg(format!("--web.listen-address={SERVER}"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(world.path("prometheus.log")).unwrap());
        Prometheus { world, process: world.namespace.spawn(&mut command) }
    }

    /// What its API gives; nothing as long as it does not listen.
    fn get(&self, path: &str) -> Option<Value> {
        let answer = self.world.namespace.inside(|| {
            let mut stream = TcpStream::connect(SERVER).ok()?;
            stream.set_read_timeout(Some(SOON)).ok()?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer)
        })?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// The samples that a query gives now.
    fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}")).unwrap_or_default();
        assert_ne!(answer["status"], "error", "{query}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_installed() -> bool {
    let is_there = ["prometheus", "promtool"].iter().all(|name| Path::new("/usr/bin").join(name).exists());
    if !is_there {
        skipped("needs Prometheus (Debian: prometheus)");
    }
    is_there
}

/// The queries of the dashboard, with the titles of their panels, as Grafana would send them.
fn queries() -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("{SHIPPED}/sie-dns-sensor.dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "10s").replace("$instance", ".*");
            assert!(!query.contains('$'), "{query}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), query));
        }
    }
    queries
}

/// Names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("sie_")).collect()
}

#[test]
fn prometheus_reads_the_metrics_and_each_panel_has_data() {
    if !is_installed() {
        return;
    }
    let Some(world) = World::new() else { return };
    world.namespace.link(&["set", "lo", "up"]);
    fs::create_dir(world.path("there")).unwrap();
    chown(&world.path("there"), Some(UPLOAD_USER.1.into()), None).unwrap();
    let target = format!("dir:{}", world.path("there").display());
    world.configure(&[("metrics_listen", METRICS), ("submitserver", &target), ("DNSQR_QUERY_TIMEOUT", "1")]);
    let _sensor = world.start();
    let load = world.send(2000);
    let prometheus = Prometheus::start(&world);
    let up = || prometheus.query("up").first().map(|sample| sample["value"][1].clone());
    wait_for("a scrape", PATIENCE, || up().filter(|up| up == "1"));
    let queries = queries();
    assert!(queries.len() > 20, "{queries:?}");
    for (title, query) in &queries {
        // Where nothing was counted a quotient is no number: not that either.
        let is_number = |sample: &Value| sample["value"][1].as_str().is_some_and(|value| value != "NaN");
        let found = || prometheus.query(query).iter().any(is_number).then_some(());
        wait_for(&format!("data for {title:?}: {query}"), PATIENCE, found);
    }
    // Every metric is one that there is.
    let answer = prometheus.get("/api/v1/label/__name__/values").unwrap();
    let known: Vec<&str> = answer["data"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let rules = fs::read_to_string(format!("{SHIPPED}/sie-dns-sensor.rules.yml")).unwrap();
    let unknown: Vec<&str> = names(&rules).into_iter().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} of {known:?}");
    // Few enough time series, whatever comes.
    let series = prometheus.query("count({__name__=~\"sie_.*\"})")[0]["value"][1].as_str().unwrap().parse::<u32>();
    println!("{} time series", series.clone().unwrap());
    assert!(series.unwrap() < 250);

    let rules = prometheus.get("/api/v1/rules").unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 9 && rules.iter().all(|rule| rule["health"] == "ok"), "{rules:?}");
    let firing: Vec<&Value> = rules.iter().filter(|rule| rule["state"] == "firing").map(|rule| &rule["name"]).collect();
    assert!(firing.is_empty(), "{firing:?}");
    drop(load);
}

#[test]
fn promtool_finds_nothing_wrong() {
    if !is_installed() {
        return;
    }
    let rules = Command::new("promtool")
        .args(["check", "rules", "--lint-fatal"])
        .arg(format!("{SHIPPED}/sie-dns-sensor.rules.yml"))
        .output()
        .unwrap();
    assert!(
        rules.status.success(),
        "{}{}",
        String::from_utf8_lossy(&rules.stdout),
        String::from_utf8_lossy(&rules.stderr)
    );
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/monitoring.yml");
    let tests = Command::new("promtool").args(["test", "rules", tests]).output().unwrap();
    assert!(
        tests.status.success(),
        "{}{}",
        String::from_utf8_lossy(&tests.stdout),
        String::from_utf8_lossy(&tests.stderr)
    );
    // As the textfile collector reads it, in the older format.
    let Some(world) = World::new() else { return };
    let _sensor = world.start();
    let metrics = wait_for("metrics", SOON, || Some(world.status(&["--openmetrics"])).filter(|it| it.status.success()));
    fs::write(world.path("metrics"), &metrics.stdout).unwrap();
    let mut check = Command::new("promtool");
    check.args(["check", "metrics"]).stdin(fs::File::open(world.path("metrics")).unwrap());
    let check = check.output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr);
    // 1: it cannot be read. 3: its taste is another one, since counters have other names in this format.
    assert_ne!(check.status.code(), Some(1), "{said}");
    assert!(!said.contains("error while linting"), "{said}");
}
