//! What can be checked without listening and without the network.

use super::finding::{Finding, Outcome};
use crate::{
    cli::{
        check::{accounts, interfaces, paths, report::Report, upload},
        status,
    },
    config::{Notice, Settings, SubmitServer, problem::Remark},
    daemon::{Synchronised, synchronised, views},
    escape::escaped,
};
use serde_json::Value;
use std::io::ErrorKind;

/// What was made of the settings.
pub(super) fn configuration(file: &str, notices: &[Notice]) -> Vec<Finding> {
    const SUBJECT: &str = "configuration";
    let is_trouble = |remark: &Remark| {
        matches!(remark, Remark::WorldWritable | Remark::GroupWritable(_) | Remark::OwnedBy(_) | Remark::HostBits(..))
    };
    let mut findings: Vec<Finding> = notices
        .iter()
        .filter(|notice| is_trouble(&notice.remark))
        .map(|notice| {
            let (what, cure) = parts(&notice.to_string());
            Finding::warn(SUBJECT, what, cure)
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, file));
    }
    findings
}

/// A message and the cure at its end.
pub(super) fn parts(message: &str) -> (String, String) {
    let (what, cure) = message.rsplit_once("; ").unwrap_or((message, ""));
    (what.to_owned(), cure.to_owned())
}

/// Everything else.
pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut of = |prefix: &str, check: &dyn Fn(&mut Report)| {
        let mut report = Report::default();
        check(&mut report);
        findings.extend(judged(prefix, &report));
    };
    of("interface ", &|report| interfaces::list(settings, report));
    of("user to ", &|report| accounts::describe(settings, report));
    of("", &|report| {
        if paths::spool(settings, report) {
            paths::free_space(settings, report);
        }
    });
    if settings.upload {
        of("", &|report| keys(settings, report));
    }
    // How it is done is no check where there is nothing against it.
    findings.retain(|finding| finding.outcome != Outcome::Ok || !MEANS.contains(&finding.subject.as_str()));
    findings.push(clock());
    findings.push(sensor(settings));
    findings
}

/// What `check` says of uploads, and nothing can be said against but what it says.
const MEANS: [&str; 3] = ["transport", "remote directory", "from"];

/// What an upload needs on this host.
fn keys(settings: &Settings, report: &mut Report) {
    if let SubmitServer::Dir(target) = &settings.submit_server {
        return paths::target(settings, target, report);
    }
    upload::remote(settings, report);
    paths::upload_key(settings, report);
    paths::known_hosts(settings, report);
    paths::ssh_program(settings, report);
}

/// A row is well, or is what is wrong with it.
fn judged(prefix: &str, report: &Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, value, warnings) in report.judged() {
        let subject = format!("{prefix}{name}");
        if warnings.is_empty() {
            findings.push(Finding::ok(&subject, value));
        }
        findings.extend(warnings.iter().map(|warning| {
            let outcome = if warning.is_fault { Outcome::Fail } else { Outcome::Warn };
            // What `check` breaks into two lines is one here.
            let cure: Vec<&str> = warning.cure.split_whitespace().collect();
            Finding::new(outcome, &subject, &warning.what, cure.join(" "))
        }));
    }
    findings
}

/// Only a warning: some hosts keep their time by other means than the kernel knows of.
pub(super) fn clock() -> Finding {
    const SUBJECT: &str = "clock";
    match synchronised() {
        Synchronised::Yes => Finding::ok(SUBJECT, "synchronised"),
        Synchronised::No => {
            Finding::warn(SUBJECT, "not synchronised: data with wrong times is worthless", "start chrony or ntpd")
        }
        Synchronised::Unknown => Finding::skip(SUBJECT, "the kernel does not tell"),
    }
}

/// How the sensor is doing that runs, if one does.
fn sensor(settings: &Settings) -> Finding {
    const SUBJECT: &str = "sensor";
    let path = &settings.status_socket;
    let answer = match status::ask(path, views::STATUS) {
        Ok(answer) => answer,
        Err(error) => {
            let why = match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => "none is running".to_owned(),
                _ => format!("it cannot be asked at {}: {error}", escaped(path)),
            };
            return Finding::skip(SUBJECT, why);
        }
    };
    let Ok(document) = serde_json::from_str::<Value>(&answer) else {
        return Finding::skip(SUBJECT, answer.lines().next().unwrap_or("it says nothing"));
    };
    let kernel = &document["ledger"]["kernel"];
    let count = |name: &str| kernel[name].as_u64().unwrap_or_default();
    let drops = format!(
        "dropped {} of {} packets",
        count("dropped").saturating_add(count("interface_dropped")),
        count("received")
    );
    let state = document["state"].as_str().unwrap_or_default();
    if state == "healthy" {
        return Finding::ok(SUBJECT, format!("runs, {state}; {drops}"));
    }
    let reasons = document["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<&str> = reasons.filter_map(|reason| reason["text"].as_str()).collect();
    Finding::warn(SUBJECT, format!("runs, {state}: {}; {drops}", reasons.join(", ")), "sie-dns-sensor status")
}
