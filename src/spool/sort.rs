//! Published files on their way: to the archive, to where they wait for the upload, or away.

pub use super::trim::{Limits, Stock};

use super::{
    copy::{is_unlocked, remove_left, sync_directory},
    link::{Placed, place},
    names,
    trim::{self, Removed},
};
use crate::{escape::escaped, time::Timestamp};
use std::{
    collections::HashSet,
    fmt::{self, Display, Formatter},
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// What becomes of published files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// They are kept in `archive/CHANNEL`.
    pub archive: bool,
    /// They wait in `waiting/CHANNEL`; else they are deleted here.
    pub upload: bool,
    /// Of `waiting/CHANNEL`.
    pub waiting_limits: Limits,
    /// Of `archive/CHANNEL`.
    pub archive_limits: Limits,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files linked or copied into the archive.
    pub archived: u64,
    /// Files moved to where they wait.
    pub moved: u64,
    /// Files deleted because they are not uploaded.
    pub deleted: u64,
    /// Files that waited for too long, or were too many.
    pub overflowed: u64,
    /// Files that the archive no longer holds.
    pub trimmed: u64,
}

/// What there is to say. Its text is a log line.
#[derive(Debug)]
pub enum Note {
    /// A file whose name or kind is not one of ours. Said once.
    LeftAlone(PathBuf),
    /// There was too much that waits for the upload. Said once for all that a pass removes.
    Overflow(Gone),
    /// The archive was full, or these too old for it.
    Trimmed(Gone),
    /// Something did not work. Said once for each path until it works.
    Failed {
        /// What: a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Files that a pass removed.
#[derive(Debug)]
pub struct Gone {
    /// The oldest of them.
    pub path: PathBuf,
    /// How many they are.
    pub files: u64,
    /// Bytes on the disk, as du counts them.
    pub bytes: u64,
}

/// What a scan did.
#[derive(Debug, Default)]
pub struct Scanned {
    /// How much of each.
    pub counts: Counts,
    /// What there is to say.
    pub notes: Vec<Note>,
    /// The names of the files that wait since then.
    pub moved: Vec<String>,
    /// How many are still in `new/` that should not be: left alone, or not to be moved or deleted.
    pub left: usize,
}

impl Display for Note {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Note::LeftAlone(path) => write!(f, "{} is not a file of the sensor's; left alone", escaped(path)),
            Note::Overflow(gone) => write!(f, "spool overflow, removing {gone}"),
            Note::Trimmed(gone) => write!(f, "archive overflow, removing {gone}"),
            Note::Failed { doing, path, error } => write!(f, "cannot {doing} {}: {error}", escaped(path)),
        }
    }
}

/// The old package had a line for each file; people search for its beginning.
impl Display for Gone {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Gone { path, files, bytes } = self;
        write!(f, "{}", escaped(path))?;
        match files {
            0..=1 => Ok(()),
            _ => write!(f, " and {} more, {} kilobytes", files - 1, bytes / 1024),
        }
    }
}

/// The limits are kept whenever a file has come, and so often besides: files grow too old, and somebody may have put some
/// there. Each time all files are looked at: 100 000 of them are half a second of a processor in a build for debugging.
const TRIM: Duration = Duration::from_secs(60);

/// Of a file in the archive that is no link: its owner writes, its group reads.
const ARCHIVE_MODE: u32 = 0o640;

/// Sorts what is published. It keeps no state that matters: whatever moment it is killed at, every file is still there
/// under one of its names, and the next [`Sorter::scan`] finishes.
pub struct Sorter {
    new: PathBuf,
    waiting: PathBuf,
    archive: PathBuf,
    /// They may be others after a reload.
    pub rules: Rules,
    /// What was complained about, so that it is not again; only paths that still give cause.
    complaints: HashSet<PathBuf>,
    /// Whether copies that a killed process left in the archive were removed.
    is_clean: bool,
    /// When limits were kept last, and which.
    trimmed: Option<(Timestamp, [Limits; 2])>,
}

/// One scan.
#[derive(Default)]
struct Scan {
    done: Scanned,
    complaints: HashSet<PathBuf>,
}

impl Sorter {
    /// For the files of a channel below `spool`.
    pub fn new(spool: &Path, channel: &str, rules: Rules) -> Sorter {
        let below = |directory: &str| spool.join(directory).join(channel);
        let (new, waiting, archive) = (below("new"), below("waiting"), below("archive"));
        Sorter { new, waiting, archive, rules, complaints: HashSet::new(), is_clean: false, trimmed: None }
    }

    /// Deals with all that is published now, in the order of the names, and keeps the limits.
    ///
    /// First everything is linked into the archive and that is made to last; only then do files leave `new/`. A file that
    /// cannot be archived is uploaded nevertheless, but not deleted.
    ///
    /// `turn` is called for each file, and for each MiB of one that has to be copied.
    pub fn scan(&mut self, now: Timestamp, mut turn: impl FnMut()) -> Scanned {
        let mut scan = Scan::default();
        let names = self.published(&mut scan);
        let is_archived = match self.rules.archive {
            true => self.archive(&names, &mut scan, &mut turn),
            false => HashSet::new(),
        };
        let mut has_left = false;
        for name in &names {
            turn();
            let may_delete = !self.rules.archive || is_archived.contains(name.as_str());
            let is_gone = match self.rules.upload {
                true => self.wait(name, &mut scan),
                false => may_delete && self.delete(name, &mut scan),
            };
            has_left |= is_gone;
            scan.done.left += usize::from(!is_gone);
        }
        if has_left {
            if self.rules.upload {
                scan.sync(&self.waiting);
            }
            scan.sync(&self.new);
        }
        if !names.is_empty() || self.is_to_trim(now) {
            self.trim(now, &mut scan);
        } else {
            // What could not be removed has not been tried again.
            let is_kept = |path: &&PathBuf| path.starts_with(&self.waiting) || path.starts_with(&self.archive);
            scan.complaints.extend(self.complaints.iter().filter(is_kept).cloned());
        }
        let news = |note: &Note| note.path().is_none_or(|path| !self.complaints.contains(path));
        let notes = std::mem::take(&mut scan.done.notes).into_iter().filter(news).collect();
        self.complaints = scan.complaints;
        Scanned { notes, ..scan.done }
    }

    /// What is in `new/`, `waiting/` and `archive/`; none if `goes_on` says no, which is asked for each file.
    pub fn stocks(&self, mut goes_on: impl FnMut() -> bool) -> Option<[Stock; 3]> {
        let [new, waiting, archive] =
            [&self.new, &self.waiting, &self.archive].map(|directory| Stock::of(directory, &mut goes_on));
        Some([new?, waiting?, archive?])
    }

    /// Names of published files, sorted.
    fn published(&self, scan: &mut Scan) -> Vec<String> {
        let entries = match fs::read_dir(&self.new) {
            Ok(entries) => entries,
            Err(error) => {
                scan.failed("list", &self.new, error);
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for entry in entries.filter_map(Result::ok) {
            let bytes = entry.file_name().into_encoded_bytes();
            if bytes.starts_with(b".") || !bytes.ends_with(b".nmsg") {
                continue;
            }
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            match entry.file_name().into_string() {
                Ok(name) if is_file && names::is_plain(&name) => names.push(name),
                _ => {
                    scan.done.left += 1;
                    scan.complain(Note::LeftAlone(entry.path()));
                }
            }
        }
        names.sort();
        names
    }

    /// Links files into the archive; those that are there to stay.
    fn archive<'n>(&mut self, names: &'n [String], scan: &mut Scan, turn: &mut impl FnMut()) -> HashSet<&'n str> {
        if !self.is_clean {
            remove_left(&self.archive, is_unlocked);
            self.is_clean = true;
        }
        let mut archived = HashSet::new();
        for name in names {
            turn();
            match archive(&self.new.join(name), &self.archive, name, turn) {
                Ok(is_new) => {
                    scan.done.counts.archived += u64::from(is_new);
                    archived.insert(name.as_str());
                }
                Err(error) => scan.failed("archive", &self.new.join(name), error),
            }
        }
        // A link of an earlier scan, which was perhaps killed, is made to last too.
        match archived.is_empty() || scan.sync(&self.archive) {
            true => archived,
            false => HashSet::new(),
        }
    }

    /// Moves a file to where it waits.
    fn wait(&self, name: &str, scan: &mut Scan) -> bool {
        let from = self.new.join(name);
        let moved = candidates(name).find_map(|name| match rename(&from, &self.waiting.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
            renamed => Some(renamed.map(|()| name)),
        });
        match moved.unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into())) {
            Ok(name) => {
                scan.done.counts.moved += 1;
                scan.done.moved.push(name);
                true
            }
            Err(error) => {
                scan.failed("move", &from, error);
                false
            }
        }
    }

    fn delete(&self, name: &str, scan: &mut Scan) -> bool {
        let path = self.new.join(name);
        match fs::remove_file(&path) {
            Ok(()) => {
                scan.done.counts.deleted += 1;
                true
            }
            Err(error) => {
                scan.failed("delete", &path, error);
                false
            }
        }
    }

    /// Whether it has been a while, or by other limits, or by another clock.
    fn is_to_trim(&self, now: Timestamp) -> bool {
        let limits = [self.rules.waiting_limits, self.rules.archive_limits];
        self.trimmed.is_none_or(|(at, by)| by != limits || at > now || now.since(at) >= TRIM)
    }

    fn trim(&mut self, now: Timestamp, scan: &mut Scan) {
        let Rules { waiting_limits, archive_limits, .. } = self.rules;
        self.trimmed = Some((now, [waiting_limits, archive_limits]));
        for (directory, limits, is_waiting) in
            [(&self.waiting, waiting_limits, true), (&self.archive, archive_limits, false)]
        {
            let failed = |path: PathBuf, error| scan.failed("remove", &path, error);
            match trim::trim(directory, limits, now, failed) {
                Ok(removed) => scan.removed(removed, is_waiting),
                // Without an archive there is none to trim.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => scan.failed("list", directory, error),
            }
        }
    }
}

impl Scan {
    fn failed(&mut self, doing: &'static str, path: &Path, error: io::Error) {
        self.complain(Note::Failed { doing, path: path.to_owned(), error });
    }

    fn complain(&mut self, note: Note) {
        self.complaints.extend(note.path().map(Path::to_owned));
        self.done.notes.push(note);
    }

    fn removed(&mut self, removed: Removed, is_waiting: bool) {
        let Removed { first: Some(path), files, bytes } = removed else { return };
        let gone = Gone { path, files, bytes };
        match is_waiting {
            true => {
                self.done.counts.overflowed += files;
                self.done.notes.push(Note::Overflow(gone));
            }
            false => {
                self.done.counts.trimmed += files;
                self.done.notes.push(Note::Trimmed(gone));
            }
        }
    }

    /// Makes links and renames last.
    fn sync(&mut self, directory: &Path) -> bool {
        sync_directory(directory).map_err(|error| self.failed("sync", directory, error)).is_ok()
    }
}

impl Note {
    /// Of a complaint, which is made once for a path.
    fn path(&self) -> Option<&Path> {
        match self {
            Note::LeftAlone(path) | Note::Failed { path, .. } => Some(path),
            Note::Overflow(_) | Note::Trimmed(_) => None,
        }
    }
}

/// Gives a file a name that nothing has. Where the system cannot do both in one, somebody could take it in between.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    match crate::sys::linux::rename_to_free(from, to) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {}
        renamed => return renamed,
    }
    match to.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// Puts `file` into the archive unless it is there; whether it was not. Another file of the name is left in peace: this
/// one gets the next free nanosecond.
fn archive(file: &Path, directory: &Path, name: &str, turn: &mut impl FnMut()) -> io::Result<bool> {
    for name in candidates(name) {
        match place(file, directory, &name, ARCHIVE_MODE, turn)? {
            Placed::Made => return Ok(true),
            Placed::There => return Ok(false),
            Placed::Taken => {}
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The names a file may get: its own, and if it has a time in it, the nanoseconds after that.
fn candidates(name: &str) -> impl Iterator<Item = String> {
    let later = names::of_published(name)
        .into_iter()
        .flat_map(|(host, time)| names::from(time).skip(1).map(move |time| names::published(host, time)));
    std::iter::once(name.to_owned()).chain(later)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{copy::STEP, part::tests::Scratch};
    use std::{
        fs::Permissions,
        os::unix::fs::{MetadataExt, PermissionsExt},
        time::Duration,
    };

    const NOW: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

    fn spool() -> Scratch {
        let scratch = Scratch::new();
        for directory in ["new/c", "waiting/c", "archive/c"] {
            fs::create_dir_all(scratch.0.join(directory)).unwrap();
        }
        scratch
    }

    fn name(number: u64) -> String {
        names::published("h", NOW + Duration::from_secs(number))
    }

    fn put(spool: &Scratch, directory: &str, name: &str, content: &str) {
        fs::write(spool.0.join(directory).join(name), content).unwrap();
    }

    fn list(spool: &Scratch, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(spool.0.join(directory)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A scan of which nothing but this is asked.
    fn scan(sorter: &mut Sorter) -> (Counts, Vec<Note>) {
        let Scanned { counts, notes, .. } = sorter.scan(NOW, || {});
        (counts, notes)
    }

    fn rules(archive: bool, upload: bool) -> Rules {
        Rules { archive, upload, ..Rules::default() }
    }

    #[test]
    fn no_file_takes_the_place_of_another() {
        let spool = spool();
        put(&spool, "new/c", "a", "one");
        put(&spool, "waiting/c", "b", "two");
        let path = |name| spool.0.join(name);
        let taken = rename(&path("new/c/a"), &path("waiting/c/b")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(path("waiting/c/b")).unwrap(), "two");
        rename(&path("new/c/a"), &path("waiting/c/a")).unwrap();
        assert_eq!((list(&spool, "new/c").len(), list(&spool, "waiting/c").len()), (0, 2));
    }

    #[test]
    fn files_go_where_the_rules_say() {
        for (archive, upload) in [(false, false), (false, true), (true, false), (true, true)] {
            let spool = spool();
            put(&spool, "new/c", &name(1), "one");
            put(&spool, "new/c", &name(2), "two");
            put(&spool, "new/c", ".h.part", "hidden");
            let mut turns = 0;
            let mut sorter = Sorter::new(&spool.0, "c", rules(archive, upload));
            let Scanned { counts, notes, moved, .. } = sorter.scan(NOW, || turns += 1);
            assert!(notes.is_empty() && turns >= 2, "{notes:?}");
            let both = vec![name(1), name(2)];
            assert_eq!(list(&spool, "new/c"), [".h.part"]);
            assert_eq!(list(&spool, "archive/c"), if archive { both.clone() } else { vec![] });
            assert_eq!(list(&spool, "waiting/c"), if upload { both } else { vec![] });
            assert_eq!(list(&spool, "waiting/c"), moved);
            let expected = Counts {
                archived: if archive { 2 } else { 0 },
                moved: if upload { 2 } else { 0 },
                deleted: if upload { 0 } else { 2 },
                ..Counts::default()
            };
            assert_eq!(counts, expected);
        }
    }

    #[test]
    fn after_a_kill_at_any_step_the_next_scan_finishes() {
        // The states that linking, moving and their syncs leave behind.
        for step in 0..3 {
            let spool = spool();
            put(&spool, "new/c", &name(1), "one");
            let (new, archive) = (spool.0.join("new/c").join(name(1)), spool.0.join("archive/c").join(name(1)));
            if step >= 1 {
                fs::hard_link(&new, archive).unwrap();
            }
            if step >= 2 {
                fs::rename(&new, spool.0.join("waiting/c").join(name(1))).unwrap();
            }
            let (_, notes) = scan(&mut Sorter::new(&spool.0, "c", rules(true, true)));
            assert!(notes.is_empty());
            for directory in ["waiting/c", "archive/c"] {
                assert_eq!(list(&spool, directory), [name(1)], "{step}");
            }
            assert!(list(&spool, "new/c").is_empty());
        }
    }

    #[test]
    fn another_file_of_the_name_is_never_replaced() {
        let spool = spool();
        let later = names::published("h", NOW + Duration::from_nanos(1_000_000_001));
        for directory in ["waiting/c", "archive/c"] {
            put(&spool, directory, &name(1), "another");
        }
        put(&spool, "new/c", &name(1), "one");
        put(&spool, "new/c", "timeless.nmsg", "two");
        put(&spool, "archive/c", "timeless.nmsg", "another");
        put(&spool, "waiting/c", "timeless.nmsg", "another");
        // Killed between the link and the rename: the link of the later name is found again.
        let new = spool.0.join("new/c").join(name(1));
        fs::hard_link(&new, spool.0.join("archive/c").join(&later)).unwrap();
        let mut sorter = Sorter::new(&spool.0, "c", rules(true, true));
        let (_, notes) = scan(&mut sorter);
        assert_eq!(notes.len(), 2, "{notes:?}"); // the one without a time
        for directory in ["waiting/c", "archive/c"] {
            assert_eq!(list(&spool, directory), [name(1), later.clone(), "timeless.nmsg".into()]);
            let content = |name: &str| fs::read_to_string(spool.0.join(directory).join(name)).unwrap();
            assert_eq!((content(&name(1)).as_str(), content(&later).as_str()), ("another", "one"));
        }
        assert_eq!(list(&spool, "new/c"), ["timeless.nmsg"]);
        assert!(scan(&mut sorter).1.is_empty());
    }

    #[test]
    fn strange_names_and_kinds_are_left_alone_and_said_once() {
        let spool = spool();
        put(&spool, "new/c", "a b.nmsg", "");
        put(&spool, "new/c", "\u{1b}[2J.nmsg", "");
        fs::create_dir(spool.0.join("new/c/directory.nmsg")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", spool.0.join("new/c/link.nmsg")).unwrap();
        let mut sorter = Sorter::new(&spool.0, "c", rules(true, true));
        let (counts, notes) = scan(&mut sorter);
        assert_eq!((counts, notes.len()), (Counts::default(), 4));
        assert!(notes.iter().all(|note| !note.to_string().contains('\u{1b}')));
        assert!(scan(&mut sorter).1.is_empty());
        assert_eq!(list(&spool, "new/c").len(), 4);
        // What has gone and come back is news.
        fs::remove_file(spool.0.join("new/c/a b.nmsg")).unwrap();
        scan(&mut sorter);
        put(&spool, "new/c", "a b.nmsg", "");
        assert_eq!(scan(&mut sorter).1.len(), 1);
    }

    #[test]
    fn what_cannot_be_archived_is_uploaded_but_not_deleted() {
        for upload in [true, false] {
            let spool = spool();
            fs::remove_dir(spool.0.join("archive/c")).unwrap();
            put(&spool, "new/c", &name(1), "one");
            let mut sorter = Sorter::new(&spool.0, "c", rules(true, upload));
            let (counts, notes) = scan(&mut sorter);
            assert!(notes[0].to_string().starts_with("cannot archive "), "{}", notes[0]);
            assert_eq!((counts.moved, counts.deleted), (u64::from(upload), 0));
            let place = if upload { "waiting/c" } else { "new/c" };
            assert_eq!(list(&spool, place), [name(1)]);
        }
    }

    #[test]
    fn an_archived_file_is_the_same_file() {
        let spool = spool();
        put(&spool, "new/c", &name(1), "one");
        scan(&mut Sorter::new(&spool.0, "c", rules(true, true)));
        assert_eq!(fs::metadata(spool.0.join("archive/c").join(name(1))).unwrap().nlink(), 2);
    }

    #[test]
    fn an_archive_on_another_file_system_gets_copies() {
        let Some(elsewhere) = elsewhere() else {
            eprintln!("skipped: needs /dev/shm on a file system of its own");
            return;
        };
        let spool = spool();
        fs::remove_dir(spool.0.join("archive/c")).unwrap();
        std::os::unix::fs::symlink(&elsewhere.0, spool.0.join("archive/c")).unwrap();
        let long = "x".repeat(STEP + 1);
        put(&spool, "new/c", &name(1), &long);
        put(&spool, "new/c", &name(2), "two");
        put(&spool, "new/c", &name(3), "three");
        // Killed in the middle of a copy, or between a copy and the move; and a stranger that has the name.
        put(&spool, "archive/c", ".sie-copy.1.0", "to");
        put(&spool, "archive/c", &name(2), "two");
        put(&spool, "archive/c", &name(3), "THREE");
        let mut sorter = Sorter::new(&spool.0, "c", rules(true, true));
        let Scanned { counts, notes, moved, .. } = sorter.scan(NOW, || {});
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!((counts.archived, counts.moved, moved.len()), (2, 3, 3));
        let later = names::published("h", NOW + Duration::from_nanos(3_000_000_001));
        assert_eq!(list(&spool, "archive/c"), [name(1), name(2), name(3), later.clone()]);
        for (name, content) in [(name(1), long.as_str()), (name(2), "two"), (name(3), "THREE"), (later, "three")] {
            assert_eq!(fs::read_to_string(elsewhere.0.join(&name)).unwrap(), content, "{name}");
        }
        let copied = fs::metadata(elsewhere.0.join(name(1))).unwrap();
        assert_eq!((copied.mode() & 0o7777, copied.nlink()), (0o640, 1));
        assert!(list(&spool, "new/c").is_empty());
    }

    /// A directory of another file system than that of other tests.
    fn elsewhere() -> Option<Scratch> {
        let path = PathBuf::from(format!("/dev/shm/sie-archive-{}", std::process::id()));
        let here = fs::metadata(std::env::temp_dir()).ok()?;
        let there = fs::metadata("/dev/shm").ok()?;
        fs::create_dir(&path).ok().filter(|()| here.dev() != there.dev())?;
        Some(Scratch(path))
    }

    #[test]
    fn what_the_old_package_left_is_taken_on() {
        let spool = spool();
        let names = ["of-2011.nmsg", "resolver.example.net.20231114.2213.1700000000.000000042.nmsg", "unknown.1.nmsg"];
        for name in names {
            put(&spool, "new/c", name, "old");
            fs::set_permissions(spool.0.join("new/c").join(name), Permissions::from_mode(0o644)).unwrap();
        }
        let Scanned { notes, moved, .. } = Sorter::new(&spool.0, "c", rules(true, true)).scan(NOW, || {});
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(moved, names);
        assert_eq!((list(&spool, "waiting/c").len(), list(&spool, "archive/c").len()), (3, 3));
    }

    #[test]
    fn what_waits_is_limited_and_said_once_a_pass() {
        let spool = spool();
        for number in 0..4 {
            put(&spool, "new/c", &name(number), &"x".repeat(4096));
        }
        let limits = |files: u64| Limits { bytes: files * 4096, age: Duration::ZERO };
        let mut sorter = Sorter::new(&spool.0, "c", Rules { waiting_limits: limits(3), ..rules(false, true) });
        let path = |number| spool.0.join("waiting/c").join(name(number)).display().to_string();
        let (counts, notes) = scan(&mut sorter);
        assert_eq!((counts.moved, counts.overflowed, notes.len()), (4, 1, 1));
        assert_eq!(notes[0].to_string(), format!("spool overflow, removing {}", path(0)));
        sorter.rules.waiting_limits = limits(1);
        let (counts, notes) = scan(&mut sorter);
        assert_eq!((counts.overflowed, notes.len()), (2, 1));
        assert_eq!(notes[0].to_string(), format!("spool overflow, removing {} and 1 more, 8 kilobytes", path(1)));
        assert_eq!(list(&spool, "waiting/c"), [name(3)]);
    }

    #[test]
    fn limits_are_kept_when_a_file_has_come_or_a_minute_has_passed_or_they_are_others() {
        let spool = spool();
        let limits = |bytes| Limits { bytes, age: Duration::ZERO };
        let rules = |bytes| Rules { waiting_limits: limits(bytes), ..rules(false, true) };
        let mut sorter = Sorter::new(&spool.0, "c", rules(8192));
        let overflowed =
            |sorter: &mut Sorter, seconds| sorter.scan(NOW + Duration::from_secs(seconds), || {}).counts.overflowed;
        (0..3).for_each(|number| put(&spool, "waiting/c", &name(number), "one"));
        assert_eq!(overflowed(&mut sorter, 0), 1);
        put(&spool, "waiting/c", &name(3), "one");
        assert_eq!((overflowed(&mut sorter, 59), overflowed(&mut sorter, 60)), (0, 1));
        put(&spool, "new/c", &name(4), "one");
        assert_eq!(overflowed(&mut sorter, 61), 1);
        sorter.rules = rules(4096);
        assert_eq!(overflowed(&mut sorter, 61), 1);
    }
}
