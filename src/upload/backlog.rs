//! Which files are next.

use super::one_line;
use crate::{spool::names, time::Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Until a file is so old, by the time in its name, it goes before all older ones: what comes later is discarded at the
/// far end.
const FRESH: Duration = Duration::from_secs(3600);
/// How long a file waits that failed once.
const FIRST: Duration = Duration::from_secs(5);
/// How long it waits at most; it doubles until then.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Files whose last error is remembered.
const REASONS_MAX: usize = 1000;
/// Names that are remembered: 10 MB, and four months of a sensor that nobody listens to. Of more, the oldest are
/// forgotten, which are the first to be removed from a spool that is too large; [`Backlog::list`] finds them again.
const NAMES_MAX: usize = 200_000;
/// Directories that one listing tells of: more than anybody makes by hand or one a day.
const BELOW_MAX: usize = 10_000;
/// Hosts whose names are kept once for all their files; a spool has one, after a renaming two.
const HOSTS_MAX: usize = 8;

/// The files of a channel that wait, of which at most 200 000 are known at a time. It reads no clock and, but for
/// [`Backlog::list`], no directory.
#[derive(Debug)]
pub struct Backlog {
    directory: PathBuf,
    /// Those that may be sent now, each with the mark of the listing that saw it last.
    ready: BTreeMap<Key, bool>,
    /// Those that may be sent later, by when.
    later: BTreeSet<(Duration, Key)>,
    /// Those that failed, ready again or not.
    failed: BTreeMap<Key, Failed>,
    /// How many of them have a reason.
    reasons: usize,
    /// Of this listing; the next one has the other.
    mark: bool,
    hosts: Vec<Arc<str>>,
}

/// What else is where files wait.
#[derive(Debug, Default)]
pub struct Listed {
    /// Directories, which may hold files: 10 000 at most, hidden ones aside.
    pub below: Vec<PathBuf>,
    /// How many files end in .nmsg and have names that are none of ours, hidden ones aside.
    pub others: usize,
    /// One of them.
    pub first_other: Option<PathBuf>,
}

/// A name, in the order in which files are sent: by the time in it. One without a time is older than all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    time: Timestamp,
    /// The host, whose name all its files share, or the whole name where that is not one that we would have made.
    text: Arc<str>,
    is_host: bool,
}

#[derive(Debug)]
struct Failed {
    tries: u32,
    reason: Option<Box<str>>,
    due: Duration,
    mark: bool,
}

/// A file that could not be sent so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble<'b> {
    /// Its name.
    pub name: String,
    /// How often it failed.
    pub tries: u32,
    /// Why it failed the last time; only of so many files is that remembered.
    pub reason: Option<&'b str>,
    /// When it is tried again, or could have been.
    pub due: Duration,
}

impl Backlog {
    /// Of `waiting/CHANNEL`; nothing is in it before it is listed.
    pub fn new(directory: PathBuf) -> Backlog {
        Backlog {
            directory,
            ready: BTreeMap::new(),
            later: BTreeSet::new(),
            failed: BTreeMap::new(),
            reasons: 0,
            mark: false,
            hosts: Vec::new(),
        }
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads the directory: what is new comes, what is gone leaves, the rest keeps its tries. Names that are none of ours,
    /// and what is no file, are left alone. Nothing leaves when the directory cannot be read to its end.
    pub fn list(&mut self) -> io::Result<Listed> {
        let entries = fs::read_dir(&self.directory)?;
        let mut listed = Listed::default();
        self.mark = !self.mark;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            // The kind is in the directory: no file is looked at.
            let Ok(kind) = entry.file_type() else { continue };
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            match name.to_str() {
                Some(name) if kind.is_file() && names::is_plain(name) => self.see(name),
                Some(_) if kind.is_dir() && !is_hidden && listed.below.len() < BELOW_MAX => {
                    listed.below.push(entry.path());
                }
                _ if kind.is_file() && !is_hidden && name.as_encoded_bytes().ends_with(b".nmsg") => {
                    listed.others += 1;
                    listed.first_other.get_or_insert_with(|| entry.path());
                }
                _ => {}
            }
        }
        let Backlog { ready, later, failed, mark, .. } = self;
        ready.retain(|_, seen| seen == mark);
        failed.retain(|_, failed| failed.mark == *mark);
        later.retain(|(_, key)| failed.contains_key(key));
        self.reasons = self.failed.values().filter(|failed| failed.reason.is_some()).count();
        Ok(listed)
    }

    /// A file has come.
    pub fn add(&mut self, name: &str) {
        if names::is_plain(name) {
            self.see(name);
        }
    }

    /// A file has gone: confirmed, or removed by somebody.
    pub fn remove(&mut self, name: &str) {
        let key = self.key(name);
        self.ready.remove(&key);
        self.forget_failure(&key);
    }

    /// A file failed: it is tried again after 5 s, 10 s, 20 s … 15 min. One that is not there is none that failed.
    pub fn postpone(&mut self, name: &str, reason: &str, now: Duration) {
        let key = self.key(name);
        let before = self.forget_failure(&key);
        if self.ready.remove(&key).is_none() && before.is_none() {
            return;
        }
        let tries = before.map_or(0, |failed| failed.tries).saturating_add(1);
        let due = now.saturating_add(delay(tries));
        let reason = (self.reasons < REASONS_MAX).then(|| Box::from(one_line(reason)));
        self.reasons += usize::from(reason.is_some());
        self.later.insert((due, key.clone()));
        self.failed.insert(key, Failed { tries, reason, due, mark: self.mark });
    }

    /// The next files to be sent, `max` at most, in the order of the bytes of their names, as rsync sorts. Fresh ones
    /// first, the oldest of them; if there is none, the oldest of the others; never both. They stay in the backlog.
    pub fn batch(&mut self, max: usize, wall: Timestamp, now: Duration) -> Vec<String> {
        self.release(now);
        let fresh = fresh_from(wall);
        let is_fresh = self.ready.range(&fresh..).next().is_some();
        let files = if is_fresh { self.ready.range(fresh..) } else { self.ready.range(..fresh) };
        let mut names: Vec<String> = files.take(max).map(|(key, _)| key.name()).collect();
        names.sort_unstable();
        names
    }

    /// Whether a fresh file can be sent now: reason to cut a batch of others short.
    pub fn has_fresh(&mut self, wall: Timestamp, now: Duration) -> bool {
        self.release(now);
        self.ready.range(fresh_from(wall)..).next().is_some()
    }

    /// When there is something to send; none as long as nothing waits.
    pub fn next_due(&self, now: Duration) -> Option<Duration> {
        match self.ready.is_empty() {
            true => self.later.first().map(|(due, _)| now.max(*due)),
            false => Some(now),
        }
    }

    /// How many files wait.
    pub fn len(&self) -> usize {
        self.ready.len() + self.later.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time in the oldest name, of those that have one.
    pub fn oldest(&self) -> Option<Timestamp> {
        let timed = Key::at(Timestamp::from_nanos(1));
        let ready = self.ready.range(timed..).next().map(|(key, _)| key.time);
        let later = self.later.iter().map(|(_, key)| key.time).filter(|time| *time > Timestamp::default());
        later.chain(ready).min()
    }

    /// The files that failed, the oldest first.
    pub fn troubles(&self) -> impl Iterator<Item = Trouble<'_>> {
        self.failed.iter().map(|(key, failed)| Trouble {
            name: key.name(),
            tries: failed.tries,
            reason: failed.reason.as_deref(),
            due: failed.due,
        })
    }

    /// Marks a file as there.
    fn see(&mut self, name: &str) {
        let key = self.key(name);
        let mark = self.mark;
        let failed = self.failed.get_mut(&key).map(|failed| failed.mark = mark);
        let ready = self.ready.get_mut(&key).map(|seen| *seen = mark);
        if failed.is_none() && ready.is_none() {
            self.ready.insert(key, mark);
            if self.len() > NAMES_MAX {
                self.forget_oldest();
            }
        }
    }

    fn key(&mut self, name: &str) -> Key {
        let (host, time) = names::of_published(name).unwrap_or_default();
        match names::published(host, time) == name {
            true => Key { time, text: self.shared(host), is_host: true },
            false => Key { time, text: name.into(), is_host: false },
        }
    }

    /// The host's name, once for all its files.
    fn shared(&mut self, host: &str) -> Arc<str> {
        match self.hosts.iter().find(|known| ***known == *host) {
            Some(known) => Arc::clone(known),
            None => {
                let host: Arc<str> = host.into();
                self.hosts.truncate(HOSTS_MAX - 1);
                self.hosts.insert(0, Arc::clone(&host));
                host
            }
        }
    }

    /// The oldest that is ready, if any is: those that failed are known for a reason.
    fn forget_oldest(&mut self) {
        if let Some((key, _)) = self.ready.pop_first() {
            self.forget_failure(&key);
        }
    }

    fn forget_failure(&mut self, key: &Key) -> Option<Failed> {
        let failed = self.failed.remove(key)?;
        self.later.remove(&(failed.due, key.clone()));
        self.reasons -= usize::from(failed.reason.is_some());
        Some(failed)
    }

    /// What is due becomes ready.
    fn release(&mut self, now: Duration) {
        while self.later.first().is_some_and(|(due, _)| *due <= now) {
            let released = self.later.pop_first();
            self.ready.extend(released.map(|(_, key)| (key, self.mark)));
        }
    }
}

impl Key {
    /// Before all names of that time.
    fn at(time: Timestamp) -> Key {
        Key { time, text: "".into(), is_host: false }
    }

    fn name(&self) -> String {
        if self.is_host { names::published(&self.text, self.time) } else { self.text.to_string() }
    }
}

/// Where fresh files begin.
fn fresh_from(wall: Timestamp) -> Key {
    Key::at(wall.before(FRESH))
}

/// Until the next try, after so many.
fn delay(tries: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(tries.saturating_sub(1));
    FIRST.saturating_mul(doubled).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::{fs::File, time::Instant};

    const WALL: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);
    const ZERO: Duration = Duration::ZERO;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Of a host, so many minutes old.
    fn name(host: &str, minutes: u64) -> String {
        names::published(host, WALL.before(secs(minutes * 60)))
    }

    fn backlog(names: &[&str]) -> Backlog {
        let mut backlog = Backlog::new(PathBuf::new());
        names.iter().for_each(|name| backlog.add(name));
        backlog
    }

    #[test]
    fn fresh_files_go_first_and_never_together_with_others() {
        let (old, older) = (name("h", 61), name("h", 90));
        let (fresh, fresher, future) = (name("h", 60), name("h", 1), names::published("h", WALL + secs(60)));
        let mut backlog = backlog(&[&fresher, &old, &future, &older, &fresh, "timeless.nmsg"]);
        assert_eq!(backlog.batch(9, WALL, ZERO), [fresh.clone(), fresher.clone(), future.clone()]);
        assert_eq!(backlog.batch(1, WALL, ZERO), [fresh.as_str()]);
        for name in [&fresh, &fresher, &future] {
            assert!(backlog.has_fresh(WALL, ZERO));
            backlog.remove(name);
        }
        assert!(!backlog.has_fresh(WALL, ZERO));
        assert_eq!(backlog.oldest(), Some(WALL.before(secs(90 * 60))));
        assert_eq!(backlog.batch(2, WALL, ZERO), [older.clone(), "timeless.nmsg".into()]);
        backlog.remove("timeless.nmsg");
        assert_eq!(backlog.batch(9, WALL, ZERO), [older, old]);
    }

    #[test]
    fn a_batch_is_chosen_by_age_and_sorted_by_bytes() {
        let (a, b, c) = (name("Z", 3), name("a.b", 2), name("a-b", 1));
        let mut backlog = backlog(&[&a, &b, &c]);
        assert_eq!(backlog.batch(2, WALL, ZERO), [a.clone(), b.clone()]);
        assert_eq!(backlog.batch(3, WALL, ZERO), [a, c, b]); // '-' < '.'
    }

    #[test]
    fn a_failed_file_waits_longer_each_time_and_keeps_nobody_waiting() {
        let (bad, good) = (name("h", 2), name("h", 1));
        let mut backlog = backlog(&[&bad, &good]);
        let mut now = secs(100);
        let mut waits = Vec::new();
        for tries in 1..=10 {
            backlog.postpone(&bad, "no", now);
            assert_eq!(backlog.batch(9, WALL, now), [good.as_str()]);
            let Trouble { name, tries: counted, reason, due } = backlog.troubles().next().unwrap();
            assert_eq!((name, counted, reason), (bad.clone(), tries, Some("no")));
            waits.push((due - now).as_secs());
            assert_eq!(backlog.batch(9, WALL, due - secs(1)), [good.as_str()]);
            assert_eq!(backlog.batch(9, WALL, due), [bad.clone(), good.clone()]);
            now = due;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
        backlog.postpone(&bad, "no", now);
        backlog.remove(&bad);
        backlog.add(&bad);
        assert_eq!((backlog.batch(9, WALL, now).len(), backlog.troubles().count()), (2, 0));
    }

    #[test]
    fn there_is_something_to_do_when_a_file_is_due() {
        let file = name("h", 1);
        let mut backlog = backlog(&[]);
        assert_eq!(backlog.next_due(secs(7)), None);
        backlog.postpone(&file, "never there", secs(7));
        assert!(backlog.is_empty());
        backlog.add(&file);
        assert_eq!(backlog.next_due(secs(7)), Some(secs(7)));
        backlog.postpone(&file, "no", secs(7));
        assert_eq!((backlog.next_due(secs(7)), backlog.next_due(secs(20))), (Some(secs(12)), Some(secs(20))));
        assert!(!backlog.has_fresh(WALL, secs(11)) && backlog.has_fresh(WALL, secs(12)));
        assert_eq!(backlog.len(), 1);
    }

    #[test]
    fn listing_takes_our_files_keeps_their_tries_and_drops_what_is_gone() {
        let scratch = Scratch::new();
        let put = |name: &str| drop(File::create(scratch.0.join(name)).unwrap());
        let names = [name("h", 4), name("h", 3), name("h", 2), name("old", 1), "of.somebody.nmsg".into()];
        names.iter().for_each(|name| put(name));
        [".hidden.nmsg", "a b.nmsg", "notes.txt", "-rf.nmsg"].iter().for_each(|name| put(name));
        fs::create_dir(scratch.0.join("directory.nmsg")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", scratch.0.join("link.nmsg")).unwrap();
        let mut backlog = Backlog::new(scratch.0.clone());
        for _ in 0..3 {
            let listed = backlog.list().unwrap();
            assert_eq!((listed.below.len(), listed.others), (1, 2));
            assert_eq!(backlog.len(), names.len());
        }
        backlog.postpone(&names[0], "no", ZERO);
        backlog.postpone(&names[1], "no", ZERO);
        backlog.postpone(&names[2], "no", ZERO);
        backlog.release(secs(5)); // ready again, but not without a past
        backlog.postpone(&names[1], "no", secs(5));
        backlog.postpone(&names[2], "no", secs(5));
        for gone in [&names[1], &names[3]] {
            fs::remove_file(scratch.0.join(gone)).unwrap();
        }
        put(&name("new", 1));
        for _ in 0..2 {
            backlog.list().unwrap();
            let troubles: Vec<_> = backlog.troubles().map(|trouble| (trouble.name.to_owned(), trouble.tries)).collect();
            assert_eq!(troubles, [(names[0].clone(), 1), (names[2].clone(), 2)]);
            assert_eq!((backlog.ready.len(), backlog.later.len(), backlog.reasons), (3, 1, 2));
        }
    }

    #[test]
    fn names_come_out_as_they_went_in() {
        let mut backlog = backlog(&[]);
        let others = ["h.20231114.2213.1700000000.000000042.nmsg", "h.20231114.2200.1700000000.000000042.nmsg"];
        let longer = ["h.20231114.2213.1700000000.0000000042.nmsg", "h.20231114.2213.01700000000.000000042.nmsg"];
        for name in others.into_iter().chain(longer).chain(["x.nmsg", ".nmsg.nmsg", "1.2.3.4.nmsg"]) {
            assert_eq!(backlog.key(name).name(), name);
        }
        for number in 0..3 * HOSTS_MAX {
            let name = name(&format!("h{number}"), 1);
            assert_eq!(backlog.key(&name), backlog.key(&name));
            assert!(backlog.hosts.len() <= HOSTS_MAX);
        }
    }

    #[test]
    fn a_directory_that_cannot_be_read_empties_nothing() {
        let file = name("h", 1);
        let mut backlog = backlog(&[&file]);
        backlog.directory = "/nonexistent".into();
        assert!(backlog.list().is_err());
        assert_eq!(backlog.batch(1, WALL, ZERO), [file.as_str()]);
    }

    #[test]
    fn memory_is_bounded_however_many_files_there_are_and_fail() {
        let mut backlog = backlog(&[]);
        for number in 0..NAMES_MAX as u64 + 10 {
            backlog.add(&names::published("h", WALL.before(secs(number))));
        }
        assert_eq!(backlog.len(), NAMES_MAX);
        assert_eq!(backlog.batch(1, WALL + FRESH, ZERO), [names::published("h", WALL)]);
        for number in 0..REASONS_MAX as u64 + 10 {
            backlog.postpone(&names::published("h", WALL.before(secs(number))), "no", ZERO);
        }
        assert_eq!(backlog.troubles().filter(|trouble| trouble.reason.is_some()).count(), REASONS_MAX);
        assert_eq!((backlog.len(), backlog.reasons), (NAMES_MAX, REASONS_MAX));
    }

    /// `cargo test --release --lib backlog -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn how_fast_and_how_large_100_000_files_are() {
        let scratch = Scratch::new();
        for minutes in 0..100_000 {
            File::create(scratch.0.join(name("ns1.resolver.example.net", minutes))).unwrap();
        }
        let resident = || {
            let statm = fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
        };
        let before = resident();
        let mut backlog = Backlog::new(scratch.0.clone());
        for what in ["list", "list again"] {
            let started = Instant::now();
            backlog.list().unwrap();
            println!("{what}: {:?}, {} kB", started.elapsed(), (resident() - before) / 1024);
        }
        for (what, wall) in [("fresh", WALL), ("old", WALL + secs(86_400))] {
            let started = Instant::now();
            assert_eq!(backlog.batch(256, wall, ZERO).len(), if what == "fresh" { 61 } else { 256 });
            println!("batch of {what}: {:?}", started.elapsed());
        }
        let started = Instant::now();
        while !backlog.is_empty() {
            for name in backlog.batch(256, WALL, ZERO) {
                backlog.remove(&name);
            }
        }
        println!("all, in batches: {:?}", started.elapsed());
    }
}
