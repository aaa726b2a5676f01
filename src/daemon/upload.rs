//! The upload child: takes published files to the archive and to where they wait, and sends them.

use super::{
    SystemClock,
    channel::{Order, Report, Start},
    directories,
    page::{Page, Slot},
    post::Post,
    privileges,
    sandbox::{self, Role},
    users,
};
use crate::{
    config::{LogLevel, Settings, SubmitServer},
    time::Clock,
    upload::{Done, Service},
};
use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long it waits, told by a signal to leave, for the supervisor to say so: where all processes get the signal, the
/// capture process has its last file still to publish.
const LAST: Duration = Duration::from_secs(5);

/// Threads that turn: this one, and the one that sends.
pub const SLOTS: usize = 2;

/// The process. Its channel is descriptor 0.
pub fn run(mut post: Post, start: Start) -> bool {
    match begin(&mut post, &start) {
        Ok(upload) => {
            upload.attend(post);
            true
        }
        Err((message, is_settings)) => {
            post.send(&Report::Hopeless(message, is_settings));
            post.close();
            false
        }
    }
}

/// A child that takes files on.
struct Upload {
    service: Service<SystemClock>,
    /// The directories that it was let into.
    stages: Vec<Stage>,
    /// Where its threads show that they turn.
    slots: [Slot; SLOTS],
    clock: SystemClock,
}

fn begin(post: &mut Post, start: &Start) -> Result<Upload, (String, bool)> {
    let page = Page::of_this_process(SLOTS).ok();
    let slots = page.and_then(|page| Some([page.slot(0)?, page.slot(1)?]));
    let slots = slots.ok_or_else(|| ("cannot map the page of counters".to_owned(), false))?;
    let settings = Settings::from_text(&start.settings).map_err(|problems| (problems.to_string(), false))?;
    let user = users::of_upload(&settings).map_err(|error| (error.to_string(), true))?;
    privileges::drop_to(&user).map_err(|error| (error.to_string(), false))?;
    let stages = directories::STAGES.map(|stage| settings.spool_dir.join(stage).join(&settings.channel));
    let opened = stages.iter().map(|path| Stage::new(path)).collect::<Option<Vec<_>>>();
    if opened.is_none() {
        post.send(&Report::DirectoryGone);
    }
    let clock = SystemClock::new();
    let service = Service::new(&settings, Done::Never, clock);
    let service = service.map_err(|error| (format!("cannot prepare the upload: {error}"), false))?;
    let entered = confine(&settings, &stages).map_err(|error| (error.to_string(), false))?;
    post.confined("upload", &entered);
    Ok(Upload { service, stages: opened.unwrap_or_default(), slots, clock })
}

/// Leaves the process what an upload needs.
pub fn confine(settings: &Settings, stages: &[PathBuf]) -> Result<sandbox::Entered, sandbox::SandboxError> {
    // A key that is made later is found too: their directories may be read, as far as their owners allow it.
    let (key, known_hosts) = (settings.upload_key_path(), settings.known_hosts_path());
    let keys: Vec<PathBuf> =
        [&key, &known_hosts].into_iter().filter_map(|path| Some(path.parent()?.to_owned())).collect();
    let target = match &settings.submit_server {
        SubmitServer::Dir(path) => Some(path.as_path()),
        _ => None,
    };
    sandbox::enter(&Role::Upload { stages, keys: &keys, target })
}

/// A directory at its path. The sandbox holds on to what was there at the start.
struct Stage {
    path: PathBuf,
    /// Device and inode.
    is: (u64, u64),
}

impl Stage {
    fn new(path: &Path) -> Option<Stage> {
        let found = path.metadata().ok()?;
        Some(Stage { path: path.to_owned(), is: (found.dev(), found.ino()) })
    }

    /// A path that cannot be looked at for another reason than its absence says nothing.
    fn is_gone(&self) -> bool {
        match self.path.metadata() {
            Ok(found) => (found.dev(), found.ino()) != self.is,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Upload {
    /// Takes files on until it is told to leave.
    fn attend(mut self, mut post: Post) {
        post.send(&Report::Ready(self.clock.wall(), Vec::new()));
        let mut is_gone = false;
        let mut leave_by = None;
        loop {
            let limit = if leave_by.is_some() { LAST } else { Duration::MAX };
            post.wait_also(self.service.wait().min(limit), self.service.bell());
            self.slots[0].turn();
            self.report(&mut post);
            let now = self.clock.monotonic();
            let mut is_to_look = self.service.is_due();
            let mut is_to_leave =
                post.is_to_leave() && (!post.is_supervised() || now >= *leave_by.get_or_insert(now + LAST));
            for order in post.orders() {
                match order {
                    Order::Look => is_to_look = true,
                    Order::Leave(_) => is_to_leave = true,
                    Order::Settings(text) => match Settings::from_text(&text) {
                        Ok(settings) => {
                            self.service.change(&settings);
                            is_to_look = true;
                        }
                        Err(problems) => post.send(&Report::Log(LogLevel::Error, problems.to_string())),
                    },
                    Order::Start(_) => {}
                }
            }
            if is_to_look && !is_gone && self.stages.iter().any(Stage::is_gone) {
                is_gone = true;
                post.send(&Report::DirectoryGone);
            }
            if is_to_look {
                let [sorting, sending] = self.slots.clone();
                self.service.look(|| sorting.turn(), move || sending.turn());
                self.report(&mut post);
            }
            if is_to_leave {
                self.service.leave().into_iter().for_each(|(level, line)| post.send(&Report::Log(level, line)));
                return post.close();
            }
        }
    }

    fn report(&self, post: &mut Post) {
        self.service.lines().into_iter().for_each(|(level, line)| post.send(&Report::Log(level, line)));
    }
}
