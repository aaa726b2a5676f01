//! Where files would be uploaded to, and how.

use super::report::Report;
use crate::{
    config::{Settings, SubmitServer, Transport},
    upload::{Plan, rsync},
};

/// The login of the configuration as it is shipped, which is nobody's.
const SHIPPED_LOGIN: &str = "sie-username";

pub(super) fn describe(settings: &Settings, report: &mut Report) {
    report.heading("upload");
    if !settings.upload {
        return report.row("destination", "none");
    }
    let plan = Plan::new(settings);
    match &plan.server {
        SubmitServer::Dir(_) => report.row("destination", "a directory of this host"),
        SubmitServer::Srv(name) => {
            report.row("destination", format!("the servers that the SRV records _rsync._tcp.{name} name"));
            remote_of(&plan, report);
        }
        SubmitServer::HostPort(..) => {
            report.row("destination", plan.server_name());
            remote_of(&plan, report);
        }
    }
    if let Some(rate) = plan.rate {
        report.row("rate", format!("at most {} kilobytes a second", rate / 1024));
    }
    report.row("alarm", format!("when files wait and none is confirmed for {} minutes", plan.alarm.as_secs() / 60));
}

/// What only a server needs.
pub(in crate::cli) fn remote(settings: &Settings, report: &mut Report) {
    remote_of(&Plan::new(settings), report);
}

fn remote_of(plan: &Plan, report: &mut Report) {
    let by_program = plan.ssh_program.join(" ");
    let transport = match (plan.transport, by_program.is_empty()) {
        (Transport::Rsync, true) => "rsync, by the SSH built in".to_owned(),
        (Transport::Sftp, true) => "sftp, by the SSH built in".to_owned(),
        (_, false) => format!("rsync, by {by_program}"),
    };
    report.row("transport", transport);
    if plan.transport == Transport::Sftp && !by_program.is_empty() {
        report.warn("ssh_program carries rsync only: transport=\"sftp\" is not heeded", "");
    }
    report.row("remote directory", plan.remote_dir());
    if let (Transport::Rsync, Err(reason)) = (plan.transport, rsync::command(plan.remote_dir())) {
        report.fault(reason, "see remote_dir");
    }
    report.row("login", plan.login.as_deref().unwrap_or("none"));
    match plan.login.as_deref() {
        None => {
            report.fault("login is not set: nothing can be uploaded", "write login=\"ACCOUNT\", or upload=\"no\"");
        }
        Some(SHIPPED_LOGIN) => {
            report
                .fault(format!("login=\"{SHIPPED_LOGIN}\" is an example"), "write the account that the service named");
        }
        Some(_) => {}
    }
    if let Some(source) = plan.source {
        report.row("from", source.to_string());
    }
}
