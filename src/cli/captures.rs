//! What the commands that follow captures have in common.

use super::exit::{SETTINGS, UNBALANCED};
use crate::{
    config::{self, Settings},
    stats::Ledger,
};
use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

/// One line on standard error; where that is closed, nobody can be told.
pub(super) fn say(command: &str, line: &dyn Display) {
    let _ = writeln!(io::stderr(), "sie-dns-sensor {command}: {line}");
}

/// The settings, as they were typed and as the file has them, if one was named; notices are said unless it is `quiet`.
pub(super) fn settings(
    command: &str,
    config: Option<&Path>,
    sets: &[String],
    quiet: bool,
) -> Result<Settings, ExitCode> {
    let (settings, notices) = config::load(config, sets).map_err(|problems| {
        let _ = writeln!(io::stderr(), "{problems}");
        ExitCode::from(SETTINGS)
    })?;
    if !quiet {
        notices.iter().for_each(|notice| say(command, notice));
    }
    Ok(settings)
}

/// What to say where no host is named.
pub(super) fn takes_all(settings: &Settings) -> Option<&'static str> {
    let takes_all = settings.resolver_addresses.is_empty() && settings.authority_addresses.is_empty();
    takes_all.then_some(
        "neither DNSQR_RES_ADDRS nor DNSQR_AUTH_ADDRS is set: every packet of a DNS port is taken, clients' too",
    )
}

/// Says what is wrong with an account at the end; the exit code of one that does not balance.
pub(super) fn judge(command: &str, ledger: &Ledger, quiet: bool) -> Option<ExitCode> {
    if ledger.total > 0 && ledger.packets.unwatched == ledger.total && !quiet {
        say(command, &"no packet is of a host in DNSQR_RES_ADDRS or DNSQR_AUTH_ADDRS and of a port in DNSQR_PORTS");
    }
    let imbalances = ledger.imbalances();
    for imbalance in &imbalances {
        say(command, &format!("the ledger does not balance: {imbalance}; this is a bug, please report it"));
    }
    (!imbalances.is_empty()).then(|| ExitCode::from(UNBALANCED))
}
