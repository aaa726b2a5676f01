//! The way to the far end, and as much of it as is kept between two batches.

use super::{
    Attendant, Failure, Outgoing, Plan, Step, Turn, directory,
    locate::{Network, Target},
    process::Process,
    program::{Destination, Launcher},
    retry::Retry,
    rsync, sftp,
    ssh::{Account, Connection, KEEP_ALIVE},
};
use crate::config::{SubmitServer, Transport};
use std::{
    collections::HashMap,
    io::{self, Seek},
    time::Duration,
};

/// A connection is not used for longer: names may point elsewhere by then, and keys be others.
const CONNECTION_MAX: Duration = Duration::from_secs(3600);

/// What is open of the way, and how it went before.
pub struct Way {
    network: Network,
    /// Starts `ssh_program`.
    launcher: Option<Launcher>,
    open: Option<Open>,
    /// Of each server that failed; none: of finding one.
    retries: HashMap<Option<Target>, Retry>,
    /// The servers that were found last.
    targets: Vec<Target>,
    remarks: Vec<String>,
    is_broken: bool,
    /// Who refuses files is asked about the next ones at once.
    is_hurried: bool,
}

/// A connection.
struct Open {
    target: Target,
    connection: Connection,
    since: Duration,
    next_keep_alive: Duration,
}

impl Way {
    /// Nothing of it is open. The process must not be confined yet.
    pub fn new(plan: &Plan) -> io::Result<Way> {
        let network = Network::new();
        let program = &plan.ssh_program;
        let launcher = (!program.is_empty()).then(|| Launcher::start(program)).transpose()?;
        Ok(Way {
            network,
            launcher,
            open: None,
            retries: HashMap::new(),
            targets: Vec::new(),
            remarks: Vec::new(),
            is_broken: false,
            is_hurried: false,
        })
    }

    /// Forgets what failed: somebody says that it is worth another try.
    pub fn forgive(&mut self) {
        self.retries.clear();
        self.network.forgive();
    }

    /// Only servers that do not answer are waited for, not those that refuse files: for a single run.
    pub fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// Whether the process that starts `ssh_program` is gone: only a new uploader can have another.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Forgets what was true of other settings.
    pub fn reset(&mut self) {
        self.open = None;
        self.forgive();
        self.targets.clear();
    }

    /// When a server may be tried next.
    pub fn not_before(&self) -> Duration {
        if self.open.is_some() {
            return Duration::ZERO;
        }
        let of = |target| self.retries.get(&target).map_or(Duration::ZERO, Retry::not_before);
        let targets = self.targets.iter().map(|target| of(Some(target.clone()))).min();
        of(None).max(targets.unwrap_or_default())
    }

    /// The server that is connected.
    pub fn server(&self) -> Option<&Target> {
        self.open.as_ref().map(|open| &open.target)
    }

    /// Keeps the connection alive; closes one that is dead or old.
    pub fn look_after(&mut self, attendant: &mut dyn Attendant) {
        let now = attendant.now();
        let mut is_well = |open: &mut Open| {
            if now >= open.next_keep_alive {
                open.next_keep_alive = now + KEEP_ALIVE;
                return open.connection.keep_alive(attendant).is_ok();
            }
            open.connection.is_usable() && now.saturating_sub(open.since) < CONNECTION_MAX
        };
        if self.open.as_mut().is_some_and(|open| !is_well(open)) {
            self.open = None;
        }
    }

    /// How long until the connection wants to be looked after.
    pub fn idle(&self, now: Duration) -> Duration {
        self.open.as_ref().map_or(Duration::MAX, |open| open.next_keep_alive.saturating_sub(now))
    }

    /// What there is to say about the key and the list of known hosts.
    pub fn remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// Sends a batch by the first server that takes some of it. An error is of the batch as a whole; the attendant knows which
    /// files arrived before it, and which failed on their own. When the next one may be tried, [`Way::not_before`] says.
    pub fn send(&mut self, plan: &Plan, files: &mut [Outgoing], attendant: &mut dyn Attendant) -> Result<(), Failure> {
        let mut counting = Counting::new(attendant);
        let sent = match &plan.server {
            SubmitServer::Dir(path) => {
                let sent = directory::send(path, plan.set_remote_dir.as_deref(), files, &mut counting);
                self.judge(None, &sent, &counting, files);
                sent
            }
            _ => self.over_network(plan, files, &mut counting),
        };
        counting.tell();
        sent
    }

    fn over_network(
        &mut self,
        plan: &Plan,
        files: &mut [Outgoing],
        counting: &mut Counting<'_>,
    ) -> Result<(), Failure> {
        self.look_after(counting);
        let mut best = None;
        if let Some(open) = self.open.take() {
            let target = open.target.clone();
            let sent = self.through(open, plan, files, counting);
            // A connection that was lost while it was not used says nothing about the server.
            let is_stale = counting.confirmed == 0 && sent.as_ref().is_err_and(|failure| !failure.keeps_connection);
            if is_stale {
                self.retries.remove(&Some(target));
                counting.begin_again(files)?;
            } else if counting.is_settled(&sent, files) {
                return sent;
            } else {
                best = Some(sent);
            }
        }
        let targets = match (self.network.targets(&plan.server, counting), best) {
            // The one that was connected has more to say.
            (Err(_), Some(sent)) => return sent,
            (found, sent) => {
                best = sent;
                found
            }
        };
        self.judge_location(&targets, counting.now());
        self.targets = targets?;
        self.retries.retain(|target, _| target.as_ref().is_none_or(|target| self.targets.contains(target)));
        for target in self.targets.clone() {
            let retry = self.retries.get(&Some(target.clone()));
            if retry.is_some_and(|retry| retry.not_before() > counting.now()) {
                continue;
            }
            let failures = match &best {
                Some(_) => counting.begin_again(files)?,
                None => Vec::new(),
            };
            let sent = self.by(target, plan, files, counting);
            if counting.is_settled(&sent, files) {
                return sent;
            }
            // Whoever came furthest says best what is wrong.
            match best {
                Some(before) if reach(&before) > reach(&sent) => {
                    counting.failures = failures;
                    best = Some(before);
                }
                _ => best = Some(sent),
            }
        }
        best.unwrap_or_else(|| Err(Failure::new(Step::Connect, "no server may be tried yet")))
    }

    /// Sends a batch by this server.
    fn by(
        &mut self,
        target: Target,
        plan: &Plan,
        files: &mut [Outgoing],
        counting: &mut Counting<'_>,
    ) -> Result<(), Failure> {
        if !plan.ssh_program.is_empty() {
            let sent = self.by_program(&target, plan, files, counting);
            self.judge(Some(target), &sent, counting, files);
            return sent;
        }
        match self.open(&target, plan, counting) {
            Ok(connection) => {
                self.remarks.extend_from_slice(connection.remarks());
                let since = counting.now();
                let next_keep_alive = since + KEEP_ALIVE;
                let open = Open { target, connection, since, next_keep_alive };
                self.through(open, plan, files, counting)
            }
            Err(failure) => {
                self.remarks.extend_from_slice(&failure.remarks);
                let failed = Err(failure);
                self.judge(Some(target), &failed, counting, files);
                failed
            }
        }
    }

    /// Connects and logs in.
    pub fn open(&mut self, target: &Target, plan: &Plan, attendant: &mut dyn Attendant) -> Result<Connection, Failure> {
        let account = account(plan)?;
        let stream = self.network.connect(target, plan.source, attendant)?;
        let address = stream.peer_addr().map(|peer| peer.ip());
        let opened = Connection::open(stream, &target.host, target.port, &account, attendant);
        if let (Err(_), Ok(address)) = (&opened, address) {
            self.network.shun(address);
        }
        opened
    }

    /// The servers, in the order in which they are to be tried.
    pub fn targets(&mut self, plan: &Plan, attendant: &mut dyn Attendant) -> Result<Vec<Target>, Failure> {
        self.network.targets(&plan.server, attendant)
    }

    fn through(
        &mut self,
        mut open: Open,
        plan: &Plan,
        files: &mut [Outgoing],
        counting: &mut Counting<'_>,
    ) -> Result<(), Failure> {
        let sent = match plan.transport {
            Transport::Rsync => rsync_over(&mut open.connection, plan, files, counting),
            Transport::Sftp => sftp::send(&mut open.connection, plan.remote_dir(), files, counting),
        };
        self.judge(Some(open.target.clone()), &sent, counting, files);
        if let Some(address) = open.connection.address() {
            match &sent {
                _ if counting.confirmed > 0 => self.network.trust(address),
                Err(failure) if !failure.keeps_connection => self.network.shun(address),
                _ => {}
            }
        }
        // One that takes nothing is closed, so that the next batch may go to another server.
        if sent.is_ok() && open.connection.is_usable() && !counting.is_refused(files) {
            open.next_keep_alive = counting.now() + KEEP_ALIVE;
            self.open = Some(open);
        }
        sent
    }

    fn by_program(
        &mut self,
        target: &Target,
        plan: &Plan,
        files: &mut [Outgoing],
        attendant: &mut dyn Attendant,
    ) -> Result<(), Failure> {
        let mut pipe = self.program(target, plan)?;
        rsync::send(&mut pipe, files, attendant)
    }

    /// Starts rsync at a server through `ssh_program`.
    pub fn program(&mut self, target: &Target, plan: &Plan) -> Result<Process<'_>, Failure> {
        let failed = |step, reason: &dyn std::fmt::Display| Failure::new(step, format!("ssh_program: {reason}"));
        let account = account(plan)?;
        let destination = Destination {
            host: target.host.clone(),
            port: target.port,
            login: account.login,
            known_hosts: account.known_hosts,
            key: account.key,
            source: plan.source,
            command: rsync::command(plan.remote_dir()).map_err(|reason| failed(Step::Command, &reason))?,
        };
        let launcher = self.launcher.as_mut();
        let launcher = launcher.ok_or_else(|| failed(Step::Connect, &"it is used from the next start on"))?;
        let opened = launcher.open(&destination);
        let gone = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof];
        self.is_broken |= opened.as_ref().is_err_and(|error| gone.contains(&error.kind()));
        opened.map_err(|error| failed(Step::Connect, &error))
    }

    fn judge_location(&mut self, found: &Result<Vec<Target>, Failure>, now: Duration) {
        match found {
            Ok(_) => drop(self.retries.remove(&None)),
            Err(_) => drop(self.retries.entry(None).or_default().failed(now)),
        }
    }

    /// Remembers whether a server was of use. One that took nothing of a batch that it answered is as bad as none.
    fn judge(
        &mut self,
        target: Option<Target>,
        sent: &Result<(), Failure>,
        counting: &Counting<'_>,
        files: &[Outgoing],
    ) {
        let now = counting.now();
        if counting.confirmed > 0 {
            self.retries.remove(&target);
        }
        let is_refusal = sent.as_ref().map_or_else(Failure::is_refusal, |()| counting.is_refused(files));
        let is_failure = is_refusal || sent.is_err();
        if is_failure && !counting.is_ours(files) && !(is_refusal && self.is_hurried) {
            self.retries.entry(target).or_default().failed(now);
        }
    }
}

/// How far a server let us come.
fn reach(sent: &Result<(), Failure>) -> Step {
    sent.as_ref().map_or_else(|failure| failure.step, |()| Step::Transfer)
}

fn account(plan: &Plan) -> Result<Account, Failure> {
    let login = plan.login.clone().ok_or_else(|| {
        Failure::new(
            Step::Key,
            "no account is set: write login=\"NAME\" into the configuration, as the service named it",
        )
    })?;
    Ok(Account { login, key: plan.key.clone(), known_hosts: plan.known_hosts.clone() })
}

fn rsync_over(
    connection: &mut Connection,
    plan: &Plan,
    files: &mut [Outgoing],
    attendant: &mut dyn Attendant,
) -> Result<(), Failure> {
    let command = rsync::command(plan.remote_dir()).map_err(|reason| Failure::new(Step::Command, reason))?;
    let mut pipe = connection.exec(&command, attendant)?;
    let sent = rsync::send(&mut pipe, files, attendant);
    // Dropped without it, the command would take the connection along. One that is dead would be waited for.
    if sent.as_ref().map_or_else(|failure| failure.keeps_connection, |()| true) {
        pipe.close(attendant);
    }
    sent
}

/// Counts for [`Way`], and keeps back why files failed until no other server may still take them.
struct Counting<'a> {
    attendant: &'a mut dyn Attendant,
    confirmed: usize,
    failures: Vec<(usize, String)>,
}

impl<'a> Counting<'a> {
    fn new(attendant: &'a mut dyn Attendant) -> Counting<'a> {
        Counting { attendant, confirmed: 0, failures: Vec::new() }
    }

    /// Whether files were refused and none was taken.
    fn is_refused(&self, files: &[Outgoing]) -> bool {
        self.confirmed == 0 && !self.failures.is_empty() && !self.is_ours(files)
    }

    /// Whether a file failed that is not what it was, or is gone: no server would have taken it.
    fn is_ours(&self, files: &[Outgoing]) -> bool {
        let is_there = |file: &Outgoing| file.is_unchanged() && file.path().symlink_metadata().is_ok();
        self.failures.iter().any(|(index, _)| files.get(*index).is_some_and(|file| !is_there(file)))
    }

    /// Whether no other server is to get the batch.
    fn is_settled(&mut self, sent: &Result<(), Failure>, files: &[Outgoing]) -> bool {
        let is_well = sent.is_ok() && !self.is_refused(files);
        is_well || self.confirmed > 0 || self.is_ours(files) || self.turn() == Turn::Leave
    }

    /// Nothing was taken; another server gets the same files. Those that failed, and why.
    fn begin_again(&mut self, files: &mut [Outgoing]) -> Result<Vec<(usize, String)>, Failure> {
        let rewound = files.iter_mut().try_for_each(|file| file.file().rewind());
        rewound.map_err(|error| Failure::new(Step::Transfer, error))?;
        Ok(std::mem::take(&mut self.failures))
    }

    /// The files that failed.
    fn tell(self) {
        for (index, reason) in self.failures {
            self.attendant.failed(index, reason);
        }
    }
}

impl Attendant for Counting<'_> {
    fn now(&self) -> Duration {
        self.attendant.now()
    }

    fn turn(&mut self) -> Turn {
        self.attendant.turn()
    }

    fn allowance(&mut self) -> usize {
        self.attendant.allowance()
    }

    fn sent(&mut self, bytes: usize) {
        self.attendant.sent(bytes);
    }

    fn confirmed(&mut self, index: usize) {
        self.confirmed += 1;
        self.attendant.confirmed(index);
    }

    fn failed(&mut self, index: usize, reason: String) {
        self.failures.push((index, reason));
    }

    fn heard(&mut self, line: &str) {
        self.attendant.heard(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::fs;

    /// Goes on, and hears nothing.
    struct Deaf;

    impl Attendant for Deaf {
        fn now(&self) -> Duration {
            Duration::ZERO
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

    #[test]
    fn a_server_is_not_blamed_for_files_that_changed_or_went_here() {
        let scratch = Scratch::new();
        let spoils: [fn(&std::path::Path); 3] =
            [|_| {}, |path| fs::write(path, "longer").unwrap(), |path| fs::remove_file(path).unwrap()];
        for (spoil, is_blamed) in spoils.into_iter().zip([true, false, false]) {
            let path = scratch.0.join("a.nmsg");
            fs::write(&path, "one").unwrap();
            let files = [Outgoing::open(&scratch.0, "a.nmsg").unwrap()];
            spoil(&path);
            let mut attendant = Deaf;
            let mut counting = Counting::new(&mut attendant);
            counting.failed(0, "no".to_owned());
            assert_eq!(counting.is_refused(&files), is_blamed);
            for sent in [Ok(()), Err(Failure::new(Step::Transfer, "no"))] {
                assert_eq!(counting.is_settled(&sent, &files), !is_blamed);
            }
            counting.confirmed(0);
            assert!(counting.is_settled(&Err(Failure::new(Step::Transfer, "no")), &files));
        }
    }
}
