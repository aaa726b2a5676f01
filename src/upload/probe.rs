//! The way to the far end, step by step, for `upload --test` and `doctor`. Nothing is sent.

use super::{
    Attendant, Failure, Pipe, Plan, Step, TURN, Target, Turn, directory, one_line, reach, rsync, sftp, ssh::Connection,
    way::Way,
};
use crate::{
    config::{SubmitServer, Transport},
    escape::escaped,
    time::Clock,
};
use nix::unistd::{AccessFlags, access};
use std::{
    io::{self, ErrorKind},
    path::Path,
    time::Duration,
};

/// From the command's start to its greeting.
const GREETING: Duration = Duration::from_secs(15);
/// What comes in the place of a greeting is all there is after so long.
const BABBLE: Duration = Duration::from_secs(2);
/// What may come in the place of a greeting; what is kept of complaints.
const GREETING_MAX: usize = 1024;
/// What is shown of complaints: a few lines.
const END_MAX: usize = 400;
/// How often what waits there is read at once.
const COMPLAINT_READS: usize = 64;
/// The versions of the protocol that rsync accepts.
const VERSIONS: std::ops::RangeInclusive<u32> = 30..=40;

/// What a connection that is open has passed.
const STEPS: [Step; 5] = [Step::Connect, Step::Handshake, Step::HostKey, Step::Key, Step::Login];

/// What the server may say before it lets us in, in lines.
const HEARD_MAX: usize = 20;

/// What helps where files would go back into the spool.
const OTHER: &str = "name another directory in submitserver";

/// The names of all steps to a server, in their order.
pub const WAY: [&str; 7] = [
    name(Step::Locate),
    name(Step::Connect),
    name(Step::Handshake),
    name(Step::HostKey),
    name(Step::Key),
    name(Step::Login),
    name(Step::Command),
];

/// What comes out on the way, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The server that is tried next; said where there are several.
    Server(String),
    /// A step that works, and what it found.
    Passed(&'static str, String),
    /// A step that does not; those behind it are not tried.
    Failed {
        /// Its name.
        step: &'static str,
        /// What is wrong.
        reason: String,
        /// What helps.
        cure: String,
    },
    /// A line that the server said before it let us in, or did not.
    Heard(String),
    /// What is to be known besides, of our own files.
    Note(String),
}

/// Who is told.
type Listener<'l> = dyn FnMut(Said) -> io::Result<()> + 'l;

/// Walks the way and tells of each step; whether all of them worked, for one server at least.
pub fn probe(plan: &Plan, way: &mut Way, clock: &impl Clock, told: &mut Listener) -> io::Result<bool> {
    let mut attendant = Waiting { clock, heard: Vec::new() };
    if let SubmitServer::Dir(path) = &plan.server {
        return look_at(&directory::destination(path, plan.set_remote_dir.as_deref()), plan, told);
    }
    let targets = match way.targets(plan, &mut attendant) {
        Ok(targets) => targets,
        Err(failure) => return failed(plan, failure, told),
    };
    let names: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let found = match &plan.server {
        SubmitServer::Srv(name) => format!("{name}: {}", names.join(", ")),
        _ => names.join(", "),
    };
    told(Said::Passed(name(Step::Locate), found))?;
    let mut is_one_well = false;
    for target in &targets {
        if targets.len() > 1 {
            told(Said::Server(target.to_string()))?;
        }
        let reached = if plan.ssh_program.is_empty() {
            enter(target, plan, way, &mut attendant, told)?
        } else {
            way.program(target, plan).and_then(|mut pipe| greeting(&mut pipe, &mut attendant))
        };
        is_one_well |= match reached {
            Ok(said) => told(Said::Passed(name(Step::Command), said)).map(|()| true)?,
            Err(failure) => failed(plan, failure, told)?,
        };
    }
    Ok(is_one_well)
}

/// Connects, logs in, and starts the command; tells of all steps but the last, and what that gives.
fn enter<C: Clock>(
    target: &Target,
    plan: &Plan,
    way: &mut Way,
    attendant: &mut Waiting<'_, C>,
    told: &mut Listener,
) -> io::Result<Result<String, Failure>> {
    let opened = way.open(target, plan, attendant);
    let passed = STEPS.into_iter().filter(|step| opened.as_ref().err().is_none_or(|failure| *step < failure.step));
    for step in passed {
        let more = opened.as_ref().map(|connection| known_of(step, connection, plan)).unwrap_or_default();
        told(Said::Passed(name(step), more))?;
    }
    let remarks = opened.as_ref().map_or_else(|failure| &failure.remarks[..], Connection::remarks);
    let notes = remarks.iter().cloned().map(Said::Note);
    notes.chain(attendant.heard.drain(..).map(Said::Heard)).try_for_each(&mut *told)?;
    Ok(opened.and_then(|mut connection| command(&mut connection, plan, attendant)))
}

/// What there is to tell of a step of a connection that is open.
fn known_of(step: Step, connection: &Connection, plan: &Plan) -> String {
    match step {
        Step::HostKey => connection.host_key().to_owned(),
        Step::Login => plan.login.clone().unwrap_or_default(),
        _ => String::new(),
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

fn failed(plan: &Plan, failure: Failure, told: &mut Listener) -> io::Result<bool> {
    let (step, cure) = (name(failure.step), cure(failure.step, plan));
    told(Said::Failed { step, reason: failure.reason, cure })?;
    Ok(false)
}

/// The directory in the place of a server.
fn look_at(path: &Path, plan: &Plan, told: &mut Listener) -> io::Result<bool> {
    let is_spool = directory::is_spool(path, &plan.waiting);
    let found = match path.metadata() {
        Ok(metadata) if !metadata.is_dir() => Err(io::Error::other("it is no directory")),
        Ok(_) if is_spool => Err(io::Error::other(directory::IS_SPOOL)),
        Ok(_) => access(path, AccessFlags::W_OK | AccessFlags::X_OK).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    let (step, path, is_well) = ("directory", escaped(path), found.is_ok());
    let said = match found {
        Ok(()) => Said::Passed(step, path),
        Err(error) => {
            let cure = if is_spool { OTHER } else { "make it, and let the upload user write there" };
            let cure = cure.to_owned();
            Said::Failed { step, reason: format!("{path}: {error}"), cure }
        }
    };
    told(said)?;
    Ok(is_well)
}

/// Reads rsync's greeting and leaves. Its first four bytes are a version, or the beginning of a refusal.
fn greeting(pipe: &mut dyn Pipe, attendant: &mut dyn Attendant) -> Result<String, Failure> {
    let failed = |reason: String| Failure::new(Step::Command, reason);
    let mut by = attendant.now() + GREETING;
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
        for _ in 0..COMPLAINT_READS {
            let Ok(read @ 1..) = pipe.read_error(&mut buffer) else { break };
            complaint.extend_from_slice(buffer.get(..read).unwrap_or_default());
            // A program may say much before it connects.
            complaint.drain(..complaint.len().saturating_sub(GREETING_MAX));
        }
        let version = said.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        match version {
            Some(version) if VERSIONS.contains(&version) => return Ok(format!("rsync, protocol {version}")),
            // It is no rsync; the rest of what it says comes soon, or it waits for somebody who types.
            Some(_) => by = by.min(attendant.now() + BABBLE),
            None => {}
        }
        let is_over = attendant.now() > by;
        if has_ended || is_over || said.len() > GREETING_MAX {
            if is_over && said.is_empty() && complaint.is_empty() {
                return Err(failed("the remote command says nothing".to_owned()));
            }
            break;
        }
        if !unsent.is_empty()
            && let Ok(written) = pipe.write(unsent)
        {
            unsent = unsent.get(written..).unwrap_or_default();
        }
        attendant.turn();
        pipe.wait(!unsent.is_empty(), TURN).map_err(|error| failed(error.to_string()))?;
    }
    let complaint = String::from_utf8_lossy(&complaint);
    let text = one_line(&format!("{}{}", String::from_utf8_lossy(&said), end_of(complaint.trim())));
    Err(failed(if text.is_empty() {
        "the remote command ends at once".to_owned()
    } else {
        format!("the server says: {text}")
    }))
}

/// The last lines of a text: what came last says why it ended.
fn end_of(text: &str) -> &str {
    let from = text.len().saturating_sub(END_MAX);
    let end = text.get(text.ceil_char_boundary(from)..).unwrap_or(text);
    // From the beginning of a line, if one begins there.
    if from == 0 { end } else { end.split_once('\n').map_or(end, |(_, lines)| lines) }
}

const fn name(step: Step) -> &'static str {
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
    let unread = match step {
        Step::HostKey => reach::cure(&plan.known_hosts),
        Step::Key => reach::cure(&plan.key),
        _ => None,
    };
    if let Some(cure) = unread {
        return cure;
    }
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

/// Waits, and listens to what the server says before it lets us in.
struct Waiting<'c, C> {
    clock: &'c C,
    heard: Vec<String>,
}

impl<C: Clock> Attendant for Waiting<'_, C> {
    fn now(&self) -> Duration {
        self.clock.monotonic()
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

    fn heard(&mut self, line: &str) {
        if self.heard.len() < HEARD_MAX {
            self.heard.push(line.to_owned());
        }
    }
}
