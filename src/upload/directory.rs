//! Into a directory of this host: for sites without a network, where somebody carries files away, and for trying things
//! out.

use super::{Attendant, Failure, Outgoing, Step, Turn};
use crate::{
    escape::escaped,
    spool::{
        copy::{Copy, STEP, fill, is_equal, open_file, remove_left, sync_directory},
        is_same,
    },
};
use std::{
    fs::{self, Metadata},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

/// Of the files there, as of those in the spool; the umask takes from it.
const MODE: u32 = 0o660;
/// What is left of a copy after so long is nobody's: other sensors may use the same directory, over a network.
const LEFT: Duration = Duration::from_secs(86_400);
/// How long to wait while nothing may be sent.
const PAUSE: Duration = Duration::from_millis(50);

/// What is wrong with one of those.
pub const IS_SPOOL: &str = "it is the spool itself";
/// Where files of a channel are in the spool.
const STAGES: [&str; 3] = ["new", "waiting", "archive"];

/// The directory that files go to: `target`, or `remote_dir` below it where that is set.
pub fn destination(target: &Path, remote_dir: Option<&str>) -> PathBuf {
    match remote_dir {
        Some(below) => target.join(below.trim_matches('/')),
        None => target.to_owned(),
    }
}

/// Whether a directory is one that files of the sensor go through, or below one, by whatever path: `waiting` is
/// `SPOOL/waiting/CHANNEL`. What is sent there would come back, or be found there already and removed.
pub fn is_spool(directory: &Path, waiting: &Path) -> bool {
    let Some((spool, channel)) = waiting.ancestors().nth(2).zip(waiting.file_name()) else { return false };
    let stages = STAGES.map(|stage| fs::metadata(spool.join(stage).join(channel)));
    let real = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let above: Vec<Metadata> = real.ancestors().filter_map(|path| path.metadata().ok()).collect();
    stages.iter().flatten().any(|stage| above.iter().any(|directory| is_same(stage, directory)))
}

/// Copies files to `target`, or to `remote_dir` below it where that is set. Neither is made: where a disk is not mounted,
/// files would fill the one below.
///
/// Each file is on the disk under its name before it is confirmed; one that is there already with the same content is
/// confirmed as it is, another one of the name is replaced. A file that cannot be sent is told of, and the next one is
/// tried. Where the directory is to blame, that ends the batch too; no word is said of files that had not begun then, or
/// when the attendant ended it.
///
/// What is unlinked meanwhile (a spool that was too full) is still delivered; what changes is not.
pub fn send(
    target: &Path,
    remote_dir: Option<&str>,
    files: &mut [Outgoing],
    attendant: &mut dyn Attendant,
) -> Result<(), Failure> {
    let directory = destination(target, remote_dir);
    let found = fs::metadata(&directory).and_then(|found| match found.is_dir() {
        true => Ok(()),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    let unusable = |reason: &str| Failure::new(Step::Connect, format!("cannot use {}: {reason}", escaped(&directory)));
    found.map_err(|error| unusable(&error.to_string()))?;
    if files.first().and_then(|file| file.path().parent()).is_some_and(|waiting| is_spool(&directory, waiting)) {
        return Err(unusable(IS_SPOOL));
    }
    let mut delivery = Delivery { directory, attendant, is_clean: false };
    for (index, file) in files.iter_mut().enumerate() {
        if delivery.attendant.turn() != Turn::GoOn {
            break;
        }
        match delivery.deliver(file) {
            Ok(()) => delivery.attendant.confirmed(index),
            Err(Trouble::Leaving) => break,
            Err(Trouble::File(reason)) => delivery.attendant.failed(index, reason),
            Err(Trouble::Directory(reason)) => {
                delivery.attendant.failed(index, reason.clone());
                return Err(Failure::new(Step::Transfer, reason).keeping_connection());
            }
        }
    }
    Ok(())
}

struct Delivery<'a> {
    directory: PathBuf,
    attendant: &'a mut dyn Attendant,
    /// Whether old copies were looked for.
    is_clean: bool,
}

/// Why a file was not delivered.
enum Trouble {
    /// It is the file's.
    File(String),
    /// The next file would meet it too.
    Directory(String),
    /// The attendant said so.
    Leaving,
}

impl Delivery<'_> {
    fn deliver(&mut self, file: &mut Outgoing) -> Result<(), Trouble> {
        let path = self.directory.join(file.name());
        if !self.is_there(file, &path)? {
            let mut copy = Copy::create(&self.directory, MODE).map_err(|error| target("write", &path, error))?;
            self.clean(&mut copy);
            self.fill(&mut copy, file, &path)?;
            copy.replace(file.name()).map_err(|error| target("write", &path, error))?;
        }
        sync_directory(&self.directory).map_err(|error| target("sync", &self.directory, error))
    }

    /// Whether an earlier confirmation got lost.
    fn is_there(&mut self, file: &mut Outgoing, path: &Path) -> Result<bool, Trouble> {
        if path.symlink_metadata().is_err() {
            return Ok(false);
        }
        // What cannot be read may still be replaced.
        let Ok(mut there) = open_file(path) else { return Ok(false) };
        // A link to the file that is sent is no copy of it.
        let both = there.metadata().ok().zip(file.file().metadata().ok());
        if both.is_none_or(|(there, here)| is_same(&there, &here)) {
            return Ok(false);
        }
        from_start(file)?;
        let attendant = &mut self.attendant;
        let is_equal = is_equal(file.file(), &mut there, || attendant.turn() != Turn::Leave);
        let is_there = is_equal.unwrap_or(false) && file.is_unchanged();
        if is_there {
            there.sync_all().map_err(|error| target("sync", path, error))?;
        }
        Ok(is_there)
    }

    fn fill(&mut self, copy: &mut Copy, file: &mut Outgoing, path: &Path) -> Result<(), Trouble> {
        from_start(file)?;
        let mut buffer = vec![0; STEP];
        let mut copied = 0;
        while copied < file.size() {
            if self.attendant.turn() == Turn::Leave {
                return Err(Trouble::Leaving);
            }
            let allowed = self.attendant.allowance().min(STEP);
            let wanted = allowed.min(usize::try_from(file.size() - copied).unwrap_or(STEP));
            let Some(step) = buffer.get_mut(..wanted).filter(|step| !step.is_empty()) else {
                thread::sleep(PAUSE);
                continue;
            };
            match fill(file.file(), step) {
                Ok(len) if len == wanted => {}
                Ok(_) => return Err(changed(file)),
                Err(error) => return Err(source(file, error)),
            }
            copy.file().write_all(step).map_err(|error| target("write", path, error))?;
            self.attendant.sent(wanted);
            copied += wanted as u64;
        }
        if file.is_unchanged() { Ok(()) } else { Err(changed(file)) }
    }

    /// Removes what is left of copies, once in a batch. What is old is told by the clock of that file system.
    fn clean(&mut self, copy: &mut Copy) {
        let modified = copy.file().metadata().and_then(|made| made.modified());
        if let Ok(now) = modified
            && !self.is_clean
        {
            remove_left(&self.directory, |_, left| left.modified().is_ok_and(|then| is_old(then, now)));
        }
        self.is_clean = true;
    }
}

fn is_old(then: SystemTime, now: SystemTime) -> bool {
    now.duration_since(then).is_ok_and(|age| age > LEFT)
}

fn from_start(file: &mut Outgoing) -> Result<(), Trouble> {
    file.file().rewind().map_err(|error| source(file, error))
}

fn source(file: &Outgoing, error: io::Error) -> Trouble {
    Trouble::File(format!("cannot read {}: {error}", escaped(file.path())))
}

fn changed(file: &Outgoing) -> Trouble {
    Trouble::File(format!("{} has changed while it was sent", escaped(file.path())))
}

/// What the file is to blame for is its name, what has that name already, and its size.
fn target(doing: &str, path: &Path, error: io::Error) -> Trouble {
    let reason = format!("cannot {doing} {}: {error}", escaped(path));
    match error.raw_os_error().unwrap_or_default() {
        libc::EISDIR | libc::ENAMETOOLONG | libc::EFBIG | libc::EINVAL | libc::EILSEQ => Trouble::File(reason),
        libc::EACCES | libc::EPERM if path.symlink_metadata().is_ok() => Trouble::File(reason),
        _ => Trouble::Directory(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::{
        fs::File,
        os::unix::fs::PermissionsExt,
        process::{Command, Stdio},
    };

    /// Writes down what it is told; does something before every turn.
    struct Notes<'a> {
        confirmed: Vec<usize>,
        failed: Vec<(usize, String)>,
        sent: usize,
        turns: usize,
        turn: Box<dyn FnMut(usize) -> Turn + 'a>,
        allowance: Box<dyn FnMut() -> usize>,
    }

    impl Notes<'_> {
        fn new<'a>(turn: impl FnMut(usize) -> Turn + 'a) -> Notes<'a> {
            let allowance = Box::new(|| usize::MAX);
            Notes { confirmed: Vec::new(), failed: Vec::new(), sent: 0, turns: 0, turn: Box::new(turn), allowance }
        }
    }

    impl Attendant for Notes<'_> {
        fn now(&self) -> Duration {
            Duration::ZERO
        }
        fn turn(&mut self) -> Turn {
            self.turns += 1;
            (self.turn)(self.turns)
        }
        fn allowance(&mut self) -> usize {
            (self.allowance)()
        }
        fn sent(&mut self, bytes: usize) {
            self.sent += bytes;
        }
        fn confirmed(&mut self, index: usize) {
            self.confirmed.push(index);
        }
        fn failed(&mut self, index: usize, reason: String) {
            self.failed.push((index, reason));
        }
        fn heard(&mut self, _: &str) {}
    }

    /// Files to be sent, and a directory to send them to.
    struct Site {
        scratch: Scratch,
        files: Vec<Outgoing>,
        target: PathBuf,
    }

    fn site(files: &[(&str, &[u8])]) -> Site {
        let scratch = Scratch::new();
        let (waiting, target) = (scratch.0.join("waiting"), scratch.0.join("target"));
        fs::create_dir(&waiting).unwrap();
        fs::create_dir(&target).unwrap();
        let open = |(name, content): &(&str, &[u8])| {
            fs::write(waiting.join(name), content).unwrap();
            Outgoing::open(&waiting, name).unwrap()
        };
        Site { files: files.iter().map(open).collect(), scratch, target }
    }

    impl Site {
        fn send<'a>(&mut self, turn: impl FnMut(usize) -> Turn + 'a) -> (Result<(), Failure>, Notes<'a>) {
            let mut notes = Notes::new(turn);
            (send(&self.target, None, &mut self.files, &mut notes), notes)
        }

        /// What is there, hidden or not.
        fn arrived(&self) -> Vec<(String, Vec<u8>)> {
            let entries = fs::read_dir(&self.target).unwrap().map(|entry| entry.unwrap());
            let named = |entry: fs::DirEntry| {
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default())
            };
            let mut arrived: Vec<_> = entries.map(named).collect();
            arrived.sort();
            arrived
        }
    }

    fn go_on(_: usize) -> Turn {
        Turn::GoOn
    }

    #[test]
    fn files_arrive_whole_and_stay_here() {
        let long = vec![7; 2 * STEP + 5];
        let mut site = site(&[("a.nmsg", &long), ("b.nmsg", b""), ("c.nmsg", b"three")]);
        let (result, notes) = site.send(go_on);
        assert_eq!((result, notes.confirmed.as_slice(), notes.failed.len()), (Ok(()), &[0, 1, 2][..], 0));
        assert_eq!(notes.sent, long.len() + 5);
        assert!(notes.turns >= 3 + 3);
        let arrived = [("a.nmsg", long), ("b.nmsg", vec![]), ("c.nmsg", b"three".to_vec())];
        assert_eq!(site.arrived(), arrived.map(|(name, content)| (name.to_owned(), content)));
        assert!(site.files.iter().all(|file| file.path().exists()));
        assert_eq!(fs::metadata(site.target.join("a.nmsg")).unwrap().permissions().mode() & 0o007, 0);
    }

    #[test]
    fn what_is_there_already_is_confirmed_and_what_is_other_is_replaced() {
        let mut site = site(&[("a.nmsg", b"one"), ("b.nmsg", b"two"), ("c.nmsg", b"three"), ("d.nmsg", b"four")]);
        fs::write(site.target.join("a.nmsg"), "one").unwrap();
        fs::write(site.target.join("b.nmsg"), "TWO").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", site.target.join("c.nmsg")).unwrap();
        fs::create_dir(site.target.join("d.nmsg")).unwrap();
        let (result, notes) = site.send(go_on);
        assert_eq!((result, notes.confirmed.as_slice(), notes.sent), (Ok(()), &[0, 1, 2][..], 3 + 5 + 4));
        assert!(matches!(&notes.failed[..], [(3, reason)] if reason.ends_with("Is a directory (os error 21)")));
        let arrived = site.arrived();
        let contents: Vec<&[u8]> = arrived.iter().map(|(_, content)| &content[..]).collect();
        assert_eq!(contents, [&b"one"[..], b"two", b"three", b""]);
        assert!(site.target.join("c.nmsg").symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn a_file_that_changes_while_it_is_sent_fails_and_leaves_nothing() {
        let mut site = site(&[("a.nmsg", &vec![7; 2 * STEP]), ("b.nmsg", &vec![7; 2 * STEP]), ("c.nmsg", b"three")]);
        let [grown, shrunk] = [0, 1].map(|index| site.files[index].path().to_owned());
        let (result, notes) = site.send(|turns| {
            // The first turn is asked before the file, the second before its first step.
            match turns {
                2 => File::options().append(true).open(&grown).unwrap().write_all(b"more").unwrap(),
                5 => File::options().write(true).open(&shrunk).unwrap().set_len(5).unwrap(),
                _ => {}
            }
            Turn::GoOn
        });
        assert_eq!((result, notes.confirmed.as_slice()), (Ok(()), &[2][..]));
        let expected = |path: &Path| format!("{} has changed while it was sent", path.display());
        assert_eq!(notes.failed, [(0, expected(&grown)), (1, expected(&shrunk))]);
        assert_eq!(site.arrived(), [("c.nmsg".to_owned(), b"three".to_vec())]);
    }

    #[test]
    fn a_file_that_is_unlinked_while_it_is_sent_is_delivered() {
        let content = vec![7; 2 * STEP];
        let mut site = site(&[("a.nmsg", &content)]);
        let path = site.files[0].path().to_owned();
        let (_, notes) = site.send(|turns| {
            if turns == 3 {
                fs::remove_file(&path).unwrap();
            }
            Turn::GoOn
        });
        assert_eq!(notes.confirmed, [0]);
        assert_eq!(site.arrived(), [("a.nmsg".to_owned(), content)]);
    }

    #[test]
    fn leaving_leaves_nothing_half_done_and_cutting_short_finishes_the_file() {
        let long = vec![7; 2 * STEP];
        for (said, confirmed) in [(Turn::Leave, &[][..]), (Turn::CutShort, &[0])] {
            let mut site = site(&[("a.nmsg", &long), ("b.nmsg", b"two")]);
            let (result, notes) = site.send(|turns| if turns > 2 { said } else { Turn::GoOn });
            assert_eq!((result, notes.confirmed.as_slice(), notes.failed.len()), (Ok(()), confirmed, 0));
            assert_eq!(site.arrived().len(), confirmed.len());
        }
    }

    #[test]
    fn no_more_is_sent_than_is_allowed() {
        let mut site = site(&[("a.nmsg", &[7; 100])]);
        let mut notes = Notes::new(go_on);
        let mut allowances = [0, 30, 0, 30, 1000].into_iter();
        notes.allowance = Box::new(move || allowances.next().unwrap());
        send(&site.target, None, &mut site.files, &mut notes).unwrap();
        assert_eq!((notes.confirmed.as_slice(), notes.sent), (&[0][..], 100));
    }

    #[test]
    fn a_target_that_is_missing_is_named_and_not_made() {
        let mut site = site(&[("a.nmsg", b"one")]);
        let mut notes = Notes::new(go_on);
        let error = send(&site.target, Some("/in/ch202"), &mut site.files, &mut notes).unwrap_err();
        let missing = site.target.join("in/ch202");
        let expected = format!("cannot use {}: No such file or directory (os error 2)", missing.display());
        assert_eq!((error.step, error.reason), (Step::Connect, expected));
        assert!(notes.confirmed.is_empty() && notes.failed.is_empty() && site.arrived().is_empty());
        fs::create_dir_all(&missing).unwrap();
        send(&site.target, Some("/in/ch202/"), &mut site.files, &mut notes).unwrap();
        assert_eq!(fs::read(missing.join("a.nmsg")).unwrap(), b"one");
        fs::write(site.scratch.0.join("file"), "").unwrap();
        let error = send(&site.scratch.0.join("file"), None, &mut site.files, &mut notes).unwrap_err();
        assert!(error.reason.ends_with("/file: not a directory"), "{error}");
    }

    #[test]
    fn the_spool_is_no_target_by_whatever_path() {
        let scratch = Scratch::new();
        let path = |below: &str| scratch.0.join(below);
        for below in ["new/ch202", "waiting/ch202/below", "archive/ch202", "waiting/ch203", "out"] {
            fs::create_dir_all(path(below)).unwrap();
        }
        fs::write(path("waiting/ch202/a.nmsg"), "one").unwrap();
        std::os::unix::fs::symlink(path("waiting/ch202"), path("out/link")).unwrap();
        for (target, remote_dir) in [
            ("waiting/ch202", None),
            ("waiting", Some("ch202/")),
            ("new/../waiting/ch202", None),
            ("out/link", None),
            ("waiting/ch202/below", None),
            ("new/ch202", None),
            ("archive/ch202", None),
        ] {
            let mut files = [Outgoing::open(&path("waiting/ch202"), "a.nmsg").unwrap()];
            let mut notes = Notes::new(go_on);
            let error = send(&path(target), remote_dir, &mut files, &mut notes).unwrap_err();
            assert_eq!(error.step, Step::Connect);
            assert!(error.reason.ends_with(": it is the spool itself"), "{target}: {error}");
            assert!(notes.confirmed.is_empty() && notes.failed.is_empty() && notes.sent == 0, "{target}");
        }
        for target in ["waiting/ch203", "out"] {
            assert!(!is_spool(&path(target), &path("waiting/ch202")), "{target}");
        }
    }

    #[test]
    fn a_link_to_the_file_that_is_sent_is_no_copy_of_it() {
        let mut site = site(&[("a.nmsg", b"one")]);
        fs::hard_link(site.files[0].path(), site.target.join("a.nmsg")).unwrap();
        let (result, notes) = site.send(go_on);
        assert_eq!((result, notes.confirmed.as_slice(), notes.sent), (Ok(()), &[0][..], 3));
        let [here, there] = [site.files[0].path(), &site.target.join("a.nmsg")].map(|path| path.metadata().unwrap());
        assert!(!is_same(&here, &there));
    }

    #[test]
    fn old_copies_of_ours_are_removed_and_nothing_else() {
        let mut site = site(&[("a.nmsg", b"one")]);
        let day = Duration::from_secs(86_400);
        for (name, age) in [(".sie-copy.1.0", 2 * day), (".sie-copy.2.0", day / 2), (".other", 2 * day)] {
            let file = File::create(site.target.join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        site.send(go_on).0.unwrap();
        let arrived = site.arrived();
        let names: Vec<&str> = arrived.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [".other", ".sie-copy.2.0", "a.nmsg"]);
    }

    /// A file system of its own on the target, gone with this.
    struct Mounted<'a>(&'a Path);

    impl Mounted<'_> {
        fn new<'a>(path: &'a Path, options: &str) -> Option<Mounted<'a>> {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).stderr(Stdio::null());
            mount.status().is_ok_and(|status| status.success()).then_some(Mounted(path))
        }
    }

    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0).status();
        }
    }

    #[test]
    fn a_full_or_read_only_disk_ends_the_batch_and_says_where() {
        let long = vec![7; STEP];
        for (options, reason) in [("size=64k", "No space left on device"), ("ro", "Read-only file system")] {
            let mut site = site(&[("a.nmsg", b"one"), ("b.nmsg", &long), ("c.nmsg", b"three")]);
            let target = site.target.clone();
            let Some(_mounted) = Mounted::new(&target, options) else {
                eprintln!("skipped: needs root, to mount");
                return;
            };
            let (result, notes) = site.send(go_on);
            let first = notes.confirmed.len();
            let name = ["a.nmsg", "b.nmsg"][first];
            let reason = format!("cannot write {}: {reason} (os error", target.join(name).display());
            assert!(matches!(result, Err(failure) if failure.reason.starts_with(&reason)), "{options}");
            assert!(matches!(&notes.failed[..], [(index, why)] if *index == first && why.starts_with(&reason)));
            assert_eq!((site.arrived().len(), first), (first, usize::from(options != "ro")));
        }
    }
}
