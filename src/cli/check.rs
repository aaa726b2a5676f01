//! `sie-dns-sensor check`: whether the settings are right, and what the sensor would do with them on this host.

pub(super) mod accounts;
pub(super) mod interfaces;
pub(super) mod paths;
pub(super) mod report;
mod unit;
pub(super) mod upload;

use super::exit::{FAILED, SETTINGS};
use crate::{
    capture::{LinkType, live::Filter},
    config::{self, Budget, CaptureQr, CaptureRd, Notice, Settings, problem::Remark},
    daemon::{Synchronised, cgroup, synchronised},
    spool,
};
use clap::Args;
use report::Report;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What was typed.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Read settings from this file, not from that of the system
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a setting, over what the configuration file says: interface="eth0+"
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Print only what the systemd unit needs beside what it has for these settings, and nothing if it needs nothing
    #[arg(long)]
    drop_in: bool,
}

/// Runs the subcommand.
pub fn run(args: &CheckArgs) -> ExitCode {
    let file = args.config.as_deref().unwrap_or(config::default_path());
    let (settings, notices) = match config::load_for_run(file, &args.set) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let _ = writeln!(io::stderr(), "{problems}");
            return ExitCode::from(SETTINGS);
        }
    };
    let text = match args.drop_in {
        true => unit::drop_in(&settings, file).unwrap_or_default(),
        false => report(&settings, &notices, file).to_string(),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "sie-dns-sensor check: cannot write standard output: {error}");
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// What the sensor would do, then what was made of the settings, then what does not fit this host.
fn report(settings: &Settings, notices: &[Notice], file: &Path) -> Report {
    let mut report = Report::default();
    interfaces::describe(settings, &mut report);
    watched(settings, &mut report);
    kernel_filter(settings, &mut report);
    memory(settings, &mut report);
    accounts::describe(settings, &mut report);
    paths::describe(settings, &mut report);
    output(settings, &mut report);
    upload::describe(settings, &mut report);
    clock(&mut report);
    if cfg!(target_os = "linux") {
        unit::describe(settings, file, &mut report);
    }
    for notice in notices {
        match notice.remark {
            Remark::WorldWritable | Remark::GroupWritable(_) | Remark::OwnedBy(_) | Remark::HostBits(..) => {
                report.warn(notice.to_string(), "");
            }
            Remark::Unused | Remark::SnapLength(..) | Remark::LeadingZero(_) => report.note(notice.to_string()),
        }
    }
    report
}

fn watched(settings: &Settings, report: &mut Report) {
    report.heading("packets");
    let or_none = |list: String| if list.is_empty() { "none".to_owned() } else { list };
    report.row("resolvers", or_none(settings.resolver_addresses.to_string()));
    report.row("servers", or_none(settings.authority_addresses.to_string()));
    report.row("DNS ports", settings.ports.iter().map(|port| port.to_string()).collect::<Vec<_>>().join(", "));
    report.row(
        "RD bit",
        match settings.run_capture_rd() {
            CaptureRd::Both => "0 and 1: queries of clients are collected too",
            CaptureRd::Only(false) => "0 only: what resolvers ask, not what their clients ask",
            CaptureRd::Only(true) => "1 only: what clients and forwarders ask",
        },
    );
    report.row(
        "transactions",
        match settings.capture_qr {
            CaptureQr::Pair => format!("queries with their responses, within {} s", settings.query_timeout.as_secs()),
            CaptureQr::Queries => "queries alone".into(),
            CaptureQr::Responses => "responses alone".into(),
        },
    );
    report.row("TCP", if settings.capture_tcp { "collected" } else { "not collected" });
    let names = &settings.name_filter;
    let (kept, dropped) = (names.included().count(), names.excluded().count());
    report.row("names", if dropped == 0 { "all".into() } else { format!("{dropped} dropped, {kept} of them kept") });
    match (settings.zero_resolver_address, settings.strip_ecs) {
        (false, false) => report.row("hidden", "nothing"),
        (true, false) => report.row("hidden", "the resolver's address"),
        (false, true) => report.row("hidden", "client subnets"),
        (true, true) => report.row("hidden", "the resolver's address, client subnets"),
    }
}

fn kernel_filter(settings: &Settings, report: &mut Report) {
    let lines = filter_lines(settings);
    if !lines.is_empty() {
        report.heading("kernel filter");
        lines.into_iter().for_each(|line| report.line(line));
    }
}

/// The filter's program in words, with its length, and its text; one for each kind of interface, which is then named.
fn filter_lines(settings: &Settings) -> Vec<String> {
    let filter = Filter::new(settings);
    let (raw, others): (Vec<&str>, Vec<&str>) =
        settings.interfaces.iter().map(|interface| interface.name.as_str()).partition(|name| interfaces::is_raw(name));
    let differ = !raw.is_empty() && !others.is_empty();
    // All interfaces at once, and others whose frames get their header from libpcap, have the filter of Ethernet.
    let kinds = [(others, LinkType::Ethernet), (raw, LinkType::Raw)].into_iter().filter(|(names, _)| !names.is_empty());
    kinds
        .flat_map(|(names, link_type)| {
            let of = if differ { format!("{}: ", names.join(", ")) } else { String::new() };
            match filter.compile(link_type) {
                Ok(program) => std::iter::once(format!("{of}{program}")).chain(folded(&program.text)).collect(),
                Err(error) => vec![format!("{of}{error}")],
            }
        })
        .collect()
}

/// A long text in lines that fit the screen.
fn folded(text: &str) -> Vec<String> {
    const WIDTH: usize = 112;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut().filter(|line| line.len() + 1 + word.len() <= WIDTH) {
            Some(line) => line.extend([" ", word]),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn memory(settings: &Settings, report: &mut Report) {
    let Ok(budget) = Budget::new(settings, settings.interfaces.len(), settings.capture_threads) else {
        return; // refused when the settings were loaded
    };
    let threads = budget.threads();
    report.heading("memory, in kilobytes");
    report.number("limit", budget.limit / 1024);
    for (part, bytes) in budget.parts().into_iter().filter(|(_, bytes)| *bytes > 0) {
        report.number(&format!("  {part}"), bytes / 1024);
    }
    if threads > 1 {
        report.number("shared by threads", threads);
    }
    if let Some(limit) = cgroup::memory_limit() {
        report.number("limit of this control group", limit / 1024);
        cgroup::too_little(limit, settings).into_iter().for_each(|warning| report.warn(warning, ""));
    }
}

fn output(settings: &Settings, report: &mut Report) {
    report.heading("files");
    report.row("host name", spool::host_name(settings.host_name.as_deref()));
    report.row("a new one", format!("every {} s", settings.rotate.as_secs()));
    let written =
        |name: &str| config::SETTINGS.iter().find(|setting| setting.name == name).map(|s| s.written(settings));
    report.row("compression", written("compress").unwrap_or_default());
    let limit = |kilobytes: Option<u64>, age: Option<std::time::Duration>| {
        let size = kilobytes.map(|bytes| format!("{} kilobytes", bytes / 1024));
        let age = age.map(|age| format!("{} days", age.as_secs() / 86_400));
        let limits: Vec<String> = [size, age].into_iter().flatten().collect();
        if limits.is_empty() { "no limit".to_owned() } else { format!("at most {}", limits.join(", ")) }
    };
    report.row("waiting", limit(settings.max_spool_size, None));
    match settings.archive {
        true => report.row("archive", limit(settings.archive_max_size, settings.archive_max_age)),
        false => report.row("archive", "none"),
    }
    if !settings.upload && !settings.archive {
        report.warn("neither upload nor archive is on: every file is deleted as soon as it is complete", "");
    }
}

fn clock(report: &mut Report) {
    report.heading("clock");
    report.row(
        "synchronised",
        match synchronised() {
            Synchronised::Yes => "yes",
            Synchronised::No => "no",
            Synchronised::Unknown => "the kernel does not tell",
        },
    );
    if synchronised() == Synchronised::No {
        report.warn("the clock is not synchronised: data with wrong times is worthless", "start chrony or ntpd");
    }
}
