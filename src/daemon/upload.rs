//! The upload child: takes published files to the archive and to where they wait.

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
    spool::sort::{Limits, Note, Rules, Sorter},
    time::Clock,
};
use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// It looks for files when it is told to, and so often besides: somebody may have put one there.
const LOOK: Duration = Duration::from_secs(10);

/// How long it waits, told by a signal to leave, for the supervisor to say so: where all processes get the signal, the
/// capture process has its last file still to publish.
const LAST: Duration = Duration::from_secs(5);

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
    sorter: Sorter,
    /// The directories that it was let into.
    stages: Vec<Stage>,
    /// Where it shows that it turns.
    slot: Slot,
}

fn begin(post: &mut Post, start: &Start) -> Result<Upload, (String, bool)> {
    let slot = Page::of_this_process(1).ok().and_then(|page| page.slot(0));
    let slot = slot.ok_or_else(|| ("cannot map the page of counters".to_owned(), false))?;
    let settings = Settings::from_text(&start.settings).map_err(|problems| (problems.to_string(), false))?;
    let user = users::of_upload(&settings).map_err(|error| (error.to_string(), true))?;
    privileges::drop_to(&user).map_err(|error| (error.to_string(), false))?;
    let stages = directories::STAGES.map(|stage| settings.spool_dir.join(stage).join(&settings.channel));
    let opened = stages.iter().map(|path| Stage::new(path)).collect::<Option<Vec<_>>>();
    if opened.is_none() {
        post.send(&Report::DirectoryGone);
    }
    // Directories: files in them may be replaced, or made later.
    let keys = [settings.upload_key_path(), settings.known_hosts_path()].map(|path| path.parent().map(Path::to_owned));
    let keys: Vec<PathBuf> = keys.into_iter().flatten().collect();
    let target = match &settings.submit_server {
        SubmitServer::Dir(path) => Some(path.as_path()),
        _ => None,
    };
    let role = Role::Upload { stages: &stages, keys: &keys, target };
    let entered = sandbox::enter(&role).map_err(|error| (error.to_string(), false))?;
    post.confined("upload", &entered);
    let sorter = Sorter::new(&settings.spool_dir, &settings.channel, rules(&settings));
    Ok(Upload { sorter, stages: opened.unwrap_or_default(), slot })
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

/// What the settings say of published files.
fn rules(settings: &Settings) -> Rules {
    Rules {
        archive: settings.archive,
        upload: settings.upload,
        waiting_limits: limits(settings.max_spool_size, None),
        archive_limits: limits(settings.archive_max_size, settings.archive_max_age),
    }
}

impl Upload {
    /// Takes files on until it is told to leave.
    fn attend(mut self, mut post: Post) {
        let clock = SystemClock::new();
        post.send(&Report::Ready(clock.wall(), Vec::new()));
        let mut next_look = Duration::ZERO;
        let mut is_gone = false;
        let mut leave_by = None;
        loop {
            let limit = if leave_by.is_some() { LAST } else { LOOK };
            post.wait(next_look.saturating_sub(clock.monotonic()).min(limit));
            self.slot.turn();
            let now = clock.monotonic();
            let mut is_to_look = now >= next_look;
            let mut is_to_leave =
                post.is_to_leave() && (!post.is_supervised() || now >= *leave_by.get_or_insert(now + LAST));
            for order in post.orders() {
                match order {
                    Order::Look => is_to_look = true,
                    Order::Leave(_) => is_to_leave = true,
                    Order::Settings(text) => {
                        is_to_look = true;
                        match Settings::from_text(&text) {
                            Ok(settings) => self.sorter.rules = rules(&settings),
                            Err(problems) => post.send(&Report::Log(LogLevel::Error, problems.to_string())),
                        }
                    }
                    Order::Start(_) => {}
                }
            }
            if is_to_look && !is_gone && self.stages.iter().any(Stage::is_gone) {
                is_gone = true;
                post.send(&Report::DirectoryGone);
            }
            if is_to_look {
                next_look = clock.monotonic() + LOOK;
                let scanned = self.sorter.scan(clock.wall(), || self.slot.turn());
                scanned.notes.iter().for_each(|note| post.send(&Report::Log(level(note), note.to_string())));
            }
            if is_to_leave {
                return post.close();
            }
        }
    }
}

fn limits(bytes: Option<u64>, age: Option<Duration>) -> Limits {
    Limits { bytes: bytes.unwrap_or_default(), age: age.unwrap_or_default() }
}

fn level(note: &Note) -> LogLevel {
    match note {
        Note::Overflow(_) | Note::LeftAlone(_) => LogLevel::Warning,
        Note::Trimmed(_) => LogLevel::Debug,
        Note::Failed { .. } => LogLevel::Error,
    }
}
