//! Starting children, and doing what they ask for.

use super::{
    super::{
        board::Board,
        channel::{Order, Report, Start},
        child::{Child, Role},
        counts, delivery, directories, network,
        page::Layout,
        samples::Samples,
        upload,
        users::User,
        views,
    },
    Again, LEAVE, Supervisor,
};
use crate::time::Timestamp;
use std::{io, process::ExitCode, time::Duration};

/// Exit code: usage or failure.
const FAILED: u8 = 2;

/// Between two tries to make the spool's directories: somebody may bring back the disk that they were on.
const SPOOL: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Interfaces that are not there, at the start or in new settings, are told and counted from there on.
    pub(super) fn miss_interfaces(&mut self) {
        let now = self.now();
        let up = network::interfaces();
        for name in self.interfaces.untried() {
            if !up.is_up(&name) {
                self.interface_lost(&name, up.why_not(&name), false, now);
            }
        }
    }

    fn interface_lost(&mut self, name: &str, reason: &str, is_refused: bool, now: Duration) {
        if self.interfaces.lost(name, is_refused, now) {
            self.log.warning(&format!("interface {name}: {reason}; nothing is captured from it until it is back"));
        }
    }

    pub(super) fn start_children(&mut self) {
        let now = self.now();
        if self.stops.is_some() {
            return;
        }
        if self.upload.is_none() && self.upload_start.not_before <= now {
            let start = self.start_order(&self.users.upload, Vec::new(), false);
            self.upload =
                self.started(Child::start(Role::Upload, start, delivery::layout(upload::SLOTS), now), Role::Upload);
        }
        self.start_views(now);
        let up = network::interfaces();
        self.watch_interfaces(&up, now);
        if self.capture.is_none() && self.capture_start.not_before <= now {
            let names = self.interfaces.to_open(now, |name| up.is_up(name));
            if !names.is_empty() {
                self.wants_successor = false;
                let (layout, start) = (self.layout(&names), self.start_order(&self.users.capture, names, false));
                self.capture = self.started(self.start_capture(start, layout, now), Role::Capture);
            }
            return;
        }
        let is_settled = self.capture.as_ref().is_some_and(|child| child.is_ready && !child.is_leaving());
        if !is_settled || self.successor.is_some() || self.successor_start.not_before > now {
            return;
        }
        let renamed = self.interfaces.renamed(network::index);
        for name in &renamed {
            self.interface_lost(name, "it has another name now, or another one has its name", false, now);
        }
        let back = self.interfaces.to_try(now, |name| up.is_up(name));
        let is_wanted = self.wants_successor || !renamed.is_empty();
        if is_wanted || !back.is_empty() {
            self.wants_successor = false;
            let names = self.interfaces.to_open(now, |name| up.is_up(name));
            // Where nothing is captured from any more, there is nothing to wait for.
            let layout = self.layout(&names);
            let mut start = self.start_order(&self.users.capture, names, !self.interfaces.active().is_empty());
            if !is_wanted {
                start.only_for = back;
            }
            self.successor = self.started(self.start_capture(start, layout, now), Role::Capture);
        }
    }

    fn start_capture(&self, start: Start, layout: Layout, now: Duration) -> io::Result<Child> {
        let samples = self.samples.as_ref().map(Samples::descriptor).transpose()?;
        let passed = (u8::from(samples.is_some()), samples.into_iter().collect());
        Child::start_with(Role::Capture, start, layout, Some(passed), now)
    }

    /// An interface that goes down gives no error: its ring is just silent, and is not any more when it is up again.
    fn watch_interfaces(&mut self, up: &network::Interfaces, now: Duration) {
        let (went, came) = self.interfaces.watch(now, |name| up.is_up(name) || !up.exists(name));
        for name in went {
            self.log.warning(&format!("interface {name}: it is down; nothing is captured from it until it is back"));
        }
        if !came.is_empty() {
            self.log.info(&format!("captures from {} again", came.join(", ")));
        }
    }

    pub(super) fn start_order(&self, user: &User, interfaces: Vec<String>, takes_over: bool) -> Start {
        let settings = self.settings.to_text();
        // The child before the last may have packets still that the last one, which is gone, was to leave to it.
        let is_cut = self.leaving.iter().any(|child| child.role() == Role::Capture);
        let since = self.cut.filter(|_| is_cut);
        let (user, host) = (user.clone(), self.host.clone());
        Start { settings, user, interfaces, host, offset: self.seed, takes_over, since, only_for: Vec::new() }
    }

    fn layout(&self, interfaces: &[String]) -> Layout {
        counts::layout(self.settings.capture_threads, interfaces.len())
    }

    /// What is not listened at is said once; where nothing is, there is no views child.
    pub(super) fn prepare_views(&mut self) {
        self.listeners.failed.iter().for_each(|failed| self.log.warning(failed));
        if self.listeners.status.is_some() || self.listeners.metrics.is_some() {
            match Board::new() {
                Ok(board) => self.board = Some(board),
                Err(error) => self.log.error(&format!("cannot make the board; there is no status: {error}")),
            }
            match Samples::new() {
                Ok(samples) => self.samples = Some(samples),
                Err(error) => self.log.warning(&format!("top shows no zones and servers: {error}")),
            }
        }
    }

    fn start_views(&mut self, now: Duration) {
        let Some(board) = self.board.as_ref().filter(|_| self.views.is_none()) else { return };
        if self.views_start.not_before > now {
            return;
        }
        let start = self.start_order(&self.users.capture, Vec::new(), false);
        let passed = self.listeners.to_pass(board, self.samples.as_ref());
        let child = passed.and_then(|passed| Child::start_with(Role::Views, start, views::LAYOUT, Some(passed), now));
        self.views = self.started(child, Role::Views);
    }

    pub(super) fn started(&mut self, child: std::io::Result<Child>, role: Role) -> Option<Child> {
        match child {
            Ok(child) => {
                self.log.debug(&format!("started the {} process, {}", role.name(), child.pid()));
                Some(child)
            }
            Err(error) => {
                let now = self.now();
                let wait = self.again(role).died(now, Duration::ZERO).as_secs();
                self.log.error(&format!("cannot start the {} process: {error}; next try in {wait} s", role.name()));
                None
            }
        }
    }

    pub(super) fn again(&mut self, role: Role) -> &mut Again {
        match role {
            Role::Upload => &mut self.upload_start,
            Role::Views => &mut self.views_start,
            Role::Capture if self.capture.is_some() => &mut self.successor_start,
            Role::Capture => &mut self.capture_start,
        }
    }

    /// Does what the children ask for.
    pub(super) fn listen(&mut self) {
        let reports = |child: &mut Option<Child>| child.as_mut().map(Child::reports).unwrap_or_default();
        for report in reports(&mut self.upload) {
            self.heed(report, Role::Upload, false);
        }
        for report in reports(&mut self.views) {
            self.heed(report, Role::Views, false);
        }
        for report in reports(&mut self.capture) {
            self.heed(report, Role::Capture, false);
        }
        for report in reports(&mut self.successor) {
            self.heed(report, Role::Capture, true);
        }
        let reports = |child: &mut Child| (child.role(), child.reports());
        let of_leaving: Vec<(Role, Vec<Report>)> = self.leaving.iter_mut().map(reports).collect();
        for (role, report) in of_leaving.into_iter().flat_map(|(role, all)| all.into_iter().map(move |one| (role, one)))
        {
            match report {
                // Its successor says so too, or is there already.
                Report::InterfaceLost(..) | Report::DirectoryGone | Report::Outdated | Report::Ready(..) => {}
                Report::Paused(..) | Report::PausedUnread(..) => {}
                report => self.heed(report, role, false),
            }
        }
    }

    /// What a child that is gone had still to say: log lines, and why; what it could not open, if it came no further.
    pub(super) fn heed_last(&mut self, report: Report, role: Role, is_opening: bool) {
        match report {
            Report::Log(..) | Report::Hopeless(..) | Report::Published => self.heed(report, role, false),
            Report::InterfaceLost(..) if is_opening => self.heed(report, role, true),
            _ => {}
        }
    }

    fn heed(&mut self, report: Report, role: Role, is_successor: bool) {
        let now = self.now();
        match report {
            Report::Log(level, line) => self.log.line(level, &line),
            Report::Published => self.look_for_files(),
            Report::Recorded(..) => {} // its child keeps that
            Report::InterfaceLost(name, reason) => {
                // libpcap's words for an interface that is down or gone differ from version to version.
                let up = network::interfaces();
                let reason = if up.is_up(&name) { reason } else { up.why_not(&name).to_owned() };
                let is_opening = is_successor || self.capture.as_ref().is_some_and(|child| !child.is_ready);
                self.interface_lost(&name, &reason, is_opening && up.is_up(&name), now);
            }
            Report::Ready(..) if role == Role::Upload => {
                self.upload.iter_mut().for_each(|child| child.is_ready = true);
                self.look_for_files();
            }
            Report::Ready(..) if role == Role::Views => {
                self.views.iter_mut().for_each(|child| child.is_ready = true);
            }
            Report::Ready(since, opened) => self.captures(since, &opened, is_successor),
            Report::DirectoryGone => self.make_spool_anew(),
            Report::Outdated => self.replace_upload(),
            Report::Paused(paused) => self.learn_pauses(Ok(paused)),
            Report::PausedUnread(error) => self.learn_pauses(Err(error)),
            Report::Hopeless(message) => {
                self.log.error(&message);
                // Without its views the sensor does its work all the same.
                if !self.is_ready && role != Role::Views {
                    self.stop(ExitCode::from(FAILED));
                }
            }
        }
    }

    pub(super) fn look_for_files(&mut self) {
        if let Some(upload) = &mut self.upload {
            upload.channel().send(&Order::Look);
        }
    }

    /// A capture child is ready: it has the packets since `since`.
    pub(super) fn captures(&mut self, since: Timestamp, opened: &[String], is_successor: bool) {
        let now = self.now();
        if is_successor {
            let Some(successor) = self.successor.take() else { return };
            if let Some(mut old) = self.capture.replace(successor) {
                self.cut = Some(since);
                old.leave(Order::Leave(Some(since)), now, LEAVE);
                self.leaving.push(old);
            }
        }
        let Some(capture) = &mut self.capture else { return };
        capture.is_ready = true;
        let opened: Vec<_> = capture.interfaces().iter().filter(|(name, _)| opened.contains(name)).cloned().collect();
        let back = self.interfaces.captured(&opened, now);
        if !back.is_empty() && self.is_ready {
            self.log.info(&format!("captures from {} again", back.join(", ")));
        }
        if self.stops.is_some() {
            self.stop_capture();
        }
    }

    /// Another upload child is started at the next turn, which may open what this one may not.
    pub(super) fn replace_upload(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            upload.leave(Order::Leave(None), self.now(), LEAVE);
            self.leaving.push(upload);
        }
    }

    pub(super) fn make_spool_anew(&mut self) {
        let (spool, channel) = (&self.settings.spool_dir, &self.settings.channel);
        match directories::remake_spool(spool, channel, &directories::STAGES, &self.users.capture) {
            Ok(()) => {
                self.next_spool = None;
                self.log.warning("the spool directory was gone; it is made anew");
                self.wants_successor = true;
                self.replace_upload();
            }
            Err(error) => {
                let seconds = SPOOL.as_secs();
                if self.next_spool.replace(self.now() + SPOOL).is_none() {
                    self.log
                        .error(&format!("the spool directory is gone: {error}; it is tried again every {seconds} s"));
                }
            }
        }
    }
}
