//! `upload --test`: the way to the far end, step by step. Nothing is sent.

use super::{Attendant, Failure, Pipe, Plan, Step, TURN, Turn, one_line, rsync, sftp, ssh::Connection, way::Way};
use crate::{
    config::{SubmitServer, Transport},
    escape::escaped,
    time::Clock,
};
use nix::unistd::{AccessFlags, access};
use std::{
    io::{self, ErrorKind, Write},
    path::Path,
    time::Duration,
};

/// From the command's start to its greeting.
const GREETING: Duration = Duration::from_secs(15);
/// What may come in the place of a greeting.
const GREETING_MAX: usize = 1024;
/// The versions of the protocol that rsync accepts.
const VERSIONS: std::ops::RangeInclusive<u32> = 30..=40;

/// What a connection that is open has passed.
const STEPS: [Step; 5] = [Step::Connect, Step::Handshake, Step::HostKey, Step::Key, Step::Login];

/// Walks the way and writes a line for each step; whether all of them worked, for one server at least.
pub fn probe(plan: &Plan, way: &mut Way, clock: &impl Clock, out: &mut impl Write) -> io::Result<bool> {
    let mut attendant = Waiting(clock);
    if let SubmitServer::Dir(path) = &plan.server {
        return directory(path, out);
    }
    let targets = match way.targets(plan, &mut attendant) {
        Ok(targets) => targets,
        Err(failure) => return failed(plan, &failure, out),
    };
    let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
    passed(Step::Locate, &format!("{}: {}", plan.server_name(), names.join(", ")), out)?;
    let mut is_one_well = false;
    for target in &targets {
        writeln!(out, "{target}")?;
        if !plan.ssh_program.is_empty() {
            let found = way.program(target, plan).and_then(|mut pipe| greeting(&mut pipe, &mut attendant));
            is_one_well |= concluded(plan, found, out)?;
            continue;
        }
        let found = match way.open(target, plan, &mut attendant) {
            Ok(mut connection) => {
                for step in STEPS {
                    passed(step, "", out)?;
                }
                for remark in connection.remarks() {
                    writeln!(out, "note    {remark}")?;
                }
                command(&mut connection, plan, &mut attendant)
            }
            Err(failure) => {
                for step in STEPS.into_iter().filter(|step| *step < failure.step) {
                    passed(step, "", out)?;
                }
                Err(failure)
            }
        };
        is_one_well |= concluded(plan, found, out)?;
    }
    Ok(is_one_well)
}

/// The last step of a server.
fn concluded(plan: &Plan, found: Result<String, Failure>, out: &mut impl Write) -> io::Result<bool> {
    match found {
        Ok(said) => passed(Step::Command, &said, out).map(|()| true),
        Err(failure) => failed(plan, &failure, out),
    }
}

/// Starts what takes files at the server.
fn command(connection: &mut Connection, plan: &Plan, attendant: &mut dyn Attendant) -> Result<String, Failure> {
    match plan.transport {
        Transport::Sftp => sftp::probe(connection, plan.remote_dir(), attendant),
        Transport::Rsync => {
            let command = rsync::command(plan.remote_dir()).map_err(|reason| Failure::new(Step::Command, reason))?;
            greeting(&mut connection.exec(&command, attendant)?, attendant)
        }
    }
}

fn passed(step: Step, more: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", format!("ok      {:10} {more}", name(step)).trim_end())
}

fn failed(plan: &Plan, failure: &Failure, out: &mut impl Write) -> io::Result<bool> {
    writeln!(out, "FAILED  {:10} {failure}", name(failure.step))?;
    writeln!(out, "        {}", cure(failure.step, plan))?;
    Ok(false)
}

fn directory(path: &Path, out: &mut impl Write) -> io::Result<bool> {
    let found = match path.metadata() {
        Ok(metadata) if !metadata.is_dir() => Err(io::Error::other("it is no directory")),
        Ok(_) => access(path, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    let (path, is_well) = (escaped(path), found.is_ok());
    match found {
        Ok(()) => writeln!(out, "ok      directory  {path}")?,
        Err(error) => {
            writeln!(out, "FAILED  directory  {path}: {error}")?;
            writeln!(out, "        make it, and let the upload user write there")?;
        }
    }
    Ok(is_well)
}

/// Reads rsync's greeting and leaves. Its first four bytes are a version, or the beginning of a refusal.
fn greeting(pipe: &mut dyn Pipe, attendant: &mut dyn Attendant) -> Result<String, Failure> {
    let failed = |reason: String| Failure::new(Step::Command, reason);
    let by = attendant.now() + GREETING;
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    let mut unsent: &[u8] = &31u32.to_le_bytes();
    loop {
        let mut buffer = [0; GREETING_MAX];
        let mut has_ended = false;
        match pipe.read(&mut buffer) {
            Ok(0) => has_ended = true,
            Ok(read) => said.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(failed(error.to_string())),
        }
        if let Ok(read) = pipe.read_error(&mut buffer) {
            complaint.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
        let version = said.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        match version {
            Some(version) if VERSIONS.contains(&version) => return Ok(format!("rsync, protocol {version}")),
            _ if has_ended || said.len() > GREETING_MAX || complaint.len() > GREETING_MAX => break,
            _ if attendant.now() > by => return Err(failed("the remote command says nothing".to_owned())),
            _ => {}
        }
        if !unsent.is_empty()
            && let Ok(written) = pipe.write(unsent)
        {
            unsent = unsent.get(written..).unwrap_or_default();
        }
        attendant.turn();
        pipe.wait(!unsent.is_empty(), TURN).map_err(|error| failed(error.to_string()))?;
    }
    said.extend_from_slice(&complaint);
    let text = one_line(&String::from_utf8_lossy(&said));
    Err(failed(if text.is_empty() {
        "the remote command ends at once".to_owned()
    } else {
        format!("the server says: {text}")
    }))
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Locate => "server",
        Step::Connect => "connect",
        Step::Handshake => "handshake",
        Step::HostKey => "host key",
        Step::Key => "key",
        Step::Login => "login",
        Step::Command => "command",
        Step::Transfer => "transfer",
    }
}

/// What to do about a step that fails.
fn cure(step: Step, plan: &Plan) -> String {
    match step {
        Step::Locate => "see whether this host's resolver works, and submitserver in the configuration".to_owned(),
        Step::Connect => {
            "let TCP to this port out through firewalls; with several addresses, set rsync_source to the one the service knows"
                .to_owned()
        }
        Step::Handshake => "this is no SSH server, or one too old; ask the service".to_owned(),
        Step::HostKey => format!(
            "ask the service for its keys, compare the fingerprint, and write them into {}",
            escaped(&plan.known_hosts)
        ),
        Step::Key => format!("{} must be a private key that only the upload user can read: sie-gen-key makes one", escaped(&plan.key)),
        Step::Login => format!(
            "send {}.pub to the service, and write the login that it names into the configuration: login=\"NAME\"",
            escaped(&plan.key)
        ),
        Step::Command if !plan.ssh_program.is_empty() => {
            "ssh_program connects, knows the server and logs in by itself: what it says above is the cause".to_owned()
        }
        Step::Command => "the account works, but not for uploads; show the service this line".to_owned(),
        Step::Transfer => "show the service this line".to_owned(),
    }
}

/// Waits, and nothing else.
struct Waiting<'c, C>(&'c C);

impl<C: Clock> Attendant for Waiting<'_, C> {
    fn now(&self) -> Duration {
        self.0.monotonic()
    }

    fn turn(&mut self) -> Turn {
        Turn::GoOn
    }

    fn allowance(&mut self) -> usize {
        0
    }

    fn sent(&mut self, _: usize) {}

    fn confirmed(&mut self, _: usize) {}

    fn failed(&mut self, _: usize, _: String) {}

    fn heard(&mut self, _: &str) {}
}
