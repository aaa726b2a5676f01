//! The upload child: takes published files to the archive and to where they wait.

use super::{
    SystemClock,
    channel::{Order, Report, Start},
    directories,
    post::Post,
    privileges,
    sandbox::{self, Role},
    users,
};
use crate::{
    config::{LogLevel, Settings},
    spool::sort::{Limits, Note, Rules, Sorter},
    time::Clock,
};
use std::time::Duration;

/// It looks for files when it is told to, and so often besides: somebody may have put one there.
const LOOK: Duration = Duration::from_secs(10);

/// The process. Its channel is descriptor 0.
pub fn run(mut post: Post, start: Start) -> bool {
    let sorter = begin(&mut post, &start);
    match sorter {
        Ok(sorter) => {
            attend(sorter, post);
            true
        }
        Err((message, is_settings)) => {
            post.send(&Report::Hopeless(message, is_settings));
            post.close();
            false
        }
    }
}

fn begin(post: &mut Post, start: &Start) -> Result<Sorter, (String, bool)> {
    let settings = Settings::from_text(&start.settings).map_err(|problems| (problems.to_string(), false))?;
    let user = users::of_upload(&settings).map_err(|error| (error.to_string(), true))?;
    privileges::drop_to(&user).map_err(|error| (error.to_string(), false))?;
    let stages = directories::STAGES.map(|stage| settings.spool_dir.join(stage).join(&settings.channel));
    let entered =
        sandbox::enter(&Role::Upload { stages: &stages, keys: &[] }).map_err(|error| (error.to_string(), false))?;
    post.confined("upload", &entered);
    Ok(Sorter::new(&settings.spool_dir, &settings.channel, rules(&settings)))
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

fn attend(mut sorter: Sorter, mut post: Post) {
    let clock = SystemClock::new();
    post.send(&Report::Ready(clock.wall(), Vec::new()));
    let mut next_look = Duration::ZERO;
    loop {
        post.wait(LOOK.saturating_sub(clock.monotonic().saturating_sub(next_look)).min(LOOK));
        let mut is_to_look = clock.monotonic() >= next_look;
        let mut is_to_leave = post.is_to_leave();
        for order in post.orders() {
            match order {
                Order::Look => is_to_look = true,
                Order::Leave(_) => is_to_leave = true,
                Order::Settings(text) => {
                    is_to_look = true;
                    match Settings::from_text(&text) {
                        Ok(settings) => sorter.rules = rules(&settings),
                        Err(problems) => post.send(&Report::Log(LogLevel::Error, problems.to_string())),
                    }
                }
                Order::Start(_) => {}
            }
        }
        if is_to_look {
            next_look = clock.monotonic() + LOOK;
            let (_, notes) = sorter.scan(clock.wall());
            notes.iter().for_each(|note| post.send(&Report::Log(level(note), note.to_string())));
        }
        if is_to_leave {
            return post.close();
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
