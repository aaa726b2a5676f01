//! The upload child: takes published files to the archive and to where they wait, and sends them.

use super::{
    SystemClock,
    channel::{Order, Report, Start},
    delivery::{self, Delivery},
    directories,
    page::{Page, Slot},
    paused::Paused,
    post::Post,
    privileges,
    sandbox::{self, Role},
};
use crate::{
    config::{LogLevel, Settings, SubmitServer},
    spool::sort::Stock,
    time::Clock,
    upload::{Done, Service},
};
use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long it waits, told by a signal to leave, for the supervisor to say so: where all processes get the signal, the
/// capture process has its last file still to publish.
const LAST: Duration = Duration::from_secs(5);

/// Between two looks at what somebody has paused.
const PAUSES: Duration = Duration::from_secs(1);

/// Threads that turn: this one, and the one that sends.
pub const SLOTS: usize = 2;

/// The process. Its channel is descriptor 0.
pub fn run(mut post: Post, start: Start) -> bool {
    match begin(&mut post, &start) {
        Ok(upload) => {
            upload.attend(post);
            true
        }
        Err(message) => {
            post.send(&Report::Hopeless(message));
            post.close();
            false
        }
    }
}

/// A child that takes files on.
struct Upload {
    service: Service<SystemClock>,
    /// The directories that it was let into.
    stages: Vec<Place>,
    /// Others that its sandbox holds on to, as they were.
    others: Vec<Place>,
    /// Where its threads show that they turn, and the first one how things stand.
    slots: [Slot; SLOTS],
    settings: Settings,
    clock: SystemClock,
    pauses: Pauses,
}

/// What somebody has paused, as far as is known.
#[derive(Default)]
struct Pauses {
    /// Nothing is sent before it has been read once.
    known: Option<Paused>,
    /// What the supervisor was told last.
    told: Option<Report>,
    is_on: bool,
    next: Duration,
}

fn begin(post: &mut Post, start: &Start) -> Result<Upload, String> {
    let page = Page::of_this_process(delivery::layout(SLOTS)).ok();
    let slots = page.and_then(|page| Some([page.slot(0)?, page.slot(1)?]));
    let slots = slots.ok_or("cannot map the page of counters")?;
    let settings = Settings::from_text(&start.settings).map_err(|problems| problems.to_string())?;
    privileges::drop_to(&start.user).map_err(|error| error.to_string())?;
    let stages = directories::STAGES.map(|stage| settings.spool_dir.join(stage).join(&settings.channel));
    let places: Vec<Place> = stages.iter().map(|path| Place::new(path)).collect();
    if places.iter().any(|place| place.is.is_none()) {
        post.send(&Report::DirectoryGone);
    }
    let others = outside(&settings).iter().map(|path| Place::new(path)).collect();
    let clock = SystemClock::new();
    let service = Service::new(&settings, Done::Never, clock);
    let service = service.map_err(|error| format!("cannot prepare the upload: {error}"))?;
    let entered = confine(&settings, &stages).map_err(|error| error.to_string())?;
    post.confined("upload", &entered);
    Ok(Upload { service, stages: places, others, slots, settings, clock, pauses: Pauses::default() })
}

/// Leaves the process what an upload needs. What is paused is said in the spool directory.
pub fn confine(settings: &Settings, stages: &[PathBuf]) -> Result<sandbox::Entered, sandbox::SandboxError> {
    let mut read = keys(settings);
    read.push(settings.spool_dir.clone());
    sandbox::enter(&Role::Upload { stages, keys: &read, target: target(settings) })
}

/// Directories: a key that is made later is found too. Where a key is a link, also that of what it links to. All of them may
/// be read, as far as their owners allow it.
fn keys(settings: &Settings) -> Vec<PathBuf> {
    let paths = [settings.upload_key_path(), settings.known_hosts_path()];
    let real = paths.each_ref().map(|path| path.canonicalize().ok());
    let mut directories: Vec<PathBuf> =
        paths.iter().chain(real.iter().flatten()).filter_map(|path| Some(path.parent()?.to_owned())).collect();
    directories.sort();
    directories.dedup();
    directories
}

/// The directory that files go to, where they go to one.
fn target(settings: &Settings) -> Option<&Path> {
    match &settings.submit_server {
        SubmitServer::Dir(path) => Some(path),
        _ => None,
    }
}

/// What it reads or writes outside the spool, as far as that is there. Links may lead elsewhere another time.
fn outside(settings: &Settings) -> Vec<PathBuf> {
    let target = target(settings).map(Path::to_owned);
    keys(settings).into_iter().chain(target).chain(sandbox::resolver_directories()).collect()
}

/// Whether a key is needed, and there is none that may be read.
fn lacks_key(settings: &Settings) -> bool {
    let is_needed = settings.upload && settings.ssh_program.is_empty() && target(settings).is_none();
    is_needed && File::open(settings.upload_key_path()).is_err()
}

/// What is at a path. The sandbox holds on to what was there at the start.
struct Place {
    path: PathBuf,
    /// Device and inode.
    is: Option<(u64, u64)>,
}

impl Place {
    fn new(path: &Path) -> Place {
        let found = path.metadata().ok();
        Place { path: path.to_owned(), is: found.map(|found| (found.dev(), found.ino())) }
    }

    /// A path that cannot be looked at for another reason than its absence says nothing.
    fn has_changed(&self) -> bool {
        match self.path.metadata() {
            Ok(found) => Some((found.dev(), found.ino())) != self.is,
            Err(error) => error.kind() == io::ErrorKind::NotFound && self.is.is_some(),
        }
    }
}

impl Upload {
    /// Takes files on until it is told to leave.
    fn attend(mut self, mut post: Post) {
        post.send(&Report::Ready(self.clock.wall(), Vec::new()));
        let (mut is_gone, mut is_old) = (false, false);
        let mut leave_by = None;
        loop {
            let is_news = self.heed_pauses(&mut post);
            let limit = if leave_by.is_some() { LAST } else { PAUSES };
            post.wait_also(self.service.wait().min(limit), self.service.bell());
            self.slots[0].turn();
            if !self.service.has_begun() {
                self.slots[1].turn();
            }
            self.report(&mut post);
            let now = self.clock.monotonic();
            let mut is_to_look = self.service.is_due() || is_news;
            let mut is_to_leave =
                post.is_to_leave() && (!post.is_supervised() || now >= *leave_by.get_or_insert(now + LAST));
            for order in post.orders() {
                match order {
                    Order::Look => is_to_look = true,
                    Order::Leave(_) => is_to_leave = true,
                    Order::Settings(text) => match Settings::from_text(&text) {
                        Ok(settings) => {
                            self.service.change(&settings);
                            self.settings = settings;
                            is_to_look = true;
                        }
                        Err(problems) => post.send(&Report::Log(LogLevel::Error, problems.to_string())),
                    },
                    Order::Start(_) | Order::Elsewhere(_) => {}
                }
            }
            if is_to_look && !is_gone && self.stages.iter().any(Place::has_changed) {
                is_gone = true;
                post.send(&Report::DirectoryGone);
            }
            if is_to_look && !is_old && self.is_outdated() {
                is_old = true;
                post.send(&Report::Outdated);
            }
            if is_to_look {
                let [sorting, sending] = self.slots.clone();
                self.service.look(|| sorting.turn(), move || sending.turn());
                self.report(&mut post);
            }
            let sorting = self.slots[0].clone();
            let goes_on = || {
                sorting.turn();
                !post.is_to_leave()
            };
            let stocks = self.service.stocks(goes_on);
            self.show(stocks);
            // The thread that sends cannot go on. Another process may.
            is_to_leave |= self.service.ended().is_some();
            if is_to_leave {
                self.service.leave().into_iter().for_each(|(level, line)| post.send(&Report::Log(level, line)));
                // What was confirmed at the last counts too.
                self.show(stocks);
                return post.close();
            }
        }
    }

    /// Whether something it uses is where the sandbox does not let it, as that was not there at the start.
    fn is_outdated(&self) -> bool {
        let is_new = |path: &PathBuf| self.others.iter().all(|place| place.path != *path);
        self.others.iter().any(Place::has_changed) || outside(&self.settings).iter().any(is_new)
    }

    /// Looks what is paused: here, since a file system that hangs must not take the supervisor along. Whether that changes
    /// what is sent.
    fn heed_pauses(&mut self, post: &mut Post) -> bool {
        let now = self.clock.monotonic();
        if now < self.pauses.next {
            return false;
        }
        self.pauses.next = now + PAUSES;
        let report = match Paused::read(&self.settings.spool_dir) {
            Ok(paused) => {
                self.pauses.known = Some(paused);
                Report::Paused(paused)
            }
            Err(error) => Report::PausedUnread(error.to_string()),
        };
        if self.pauses.told.as_ref() != Some(&report) {
            post.send(&report);
            self.pauses.told = Some(report);
        }
        let is_on = self.pauses.known.unwrap_or(Paused::ALL).at(self.clock.wall()).upload.is_some();
        let is_news = is_on != std::mem::replace(&mut self.pauses.is_on, is_on);
        if is_news {
            self.service.pause(is_on);
        }
        is_news
    }

    fn show(&self, stocks: [Stock; 3]) {
        let free = crate::spool::free(&self.settings.spool_dir).ok();
        let delivery = Delivery { stocks, free, lacks_key: lacks_key(&self.settings), word: self.service.word() };
        delivery.publish(&self.slots[0]);
    }

    fn report(&self, post: &mut Post) {
        self.service.lines().into_iter().for_each(|(level, line)| post.send(&Report::Log(level, line)));
    }
}
