//! Files to a real rsync, over a pipe: as its server, and behind the wrapper that Debian has for it.

use nix::unistd::{Uid, User, chown};
use sie_dns_sensor::upload::{Attendant, Failure, Outgoing, Process, Turn, rsync};
use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// What became of files.
pub struct Witness {
    start: Instant,
    pub confirmed: Vec<usize>,
    pub failed: Vec<(usize, String)>,
    pub heard: Vec<String>,
}

impl Witness {
    pub fn new() -> Witness {
        Witness { start: Instant::now(), confirmed: vec![], failed: vec![], heard: vec![] }
    }
}

impl Attendant for Witness {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
    fn turn(&mut self) -> Turn {
        Turn::GoOn
    }
    fn allowance(&mut self) -> usize {
        usize::MAX
    }
    fn sent(&mut self, _: usize) {}
    fn confirmed(&mut self, index: usize) {
        self.confirmed.push(index);
    }
    fn failed(&mut self, index: usize, reason: String) {
        self.failed.push((index, reason));
    }
    fn heard(&mut self, line: &str) {
        self.heard.push(line.to_owned());
    }
}

/// A directory with files of ours, and the home of a login with `up/ch202`.
pub struct World {
    directory: PathBuf,
    /// Whether a file system of its own is mounted below the home.
    is_mounted: bool,
}

impl World {
    pub fn new() -> World {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sie-rsync-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("ours")).unwrap();
        fs::create_dir_all(directory.join("home/up/ch202")).unwrap();
        World { directory, is_mounted: false }
    }

    pub fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    fn arrived(&self) -> PathBuf {
        self.home().join("up/ch202")
    }

    fn ours(&self) -> PathBuf {
        self.directory.join("ours")
    }

    /// Makes a file of this content.
    pub fn file(&self, name: &str, bytes: &[u8]) -> Outgoing {
        fs::write(self.ours().join(name), bytes).unwrap();
        Outgoing::open(&self.ours(), name).unwrap()
    }

    pub fn has(&self, file: &Outgoing) -> bool {
        fs::read(self.arrived().join(file.name())).is_ok_and(|bytes| bytes == fs::read(file.path()).unwrap())
    }

    /// Names that arrived, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.arrived()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn rsync(&self) -> Command {
        self.older("LsfxCIvu")
    }

    /// A server that is told less of what the client can do, and so behaves as an older one.
    fn older(&self, letters: &str) -> Command {
        let line = rsync::command("up/ch202/").unwrap();
        assert!(line.contains(" -e.LsfxCIvu "), "{line}");
        let line = line.replace("LsfxCIvu", letters);
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(self.home());
        command
    }

    fn wrapped(&self) -> Command {
        let mut command = Command::new("rrsync");
        command.arg("-wo").arg(self.home()).env("SSH_ORIGINAL_COMMAND", rsync::command("up/ch202/").unwrap());
        command
    }

    fn send(&self, mut command: Command, files: &mut [Outgoing]) -> (Result<(), Failure>, Witness) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::new(command.spawn().unwrap()).unwrap();
        let mut witness = Witness::new();
        let done = rsync::send(&mut process, files, &mut witness);
        (done, witness)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg(self.arrived()).status();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn bytes(len: usize) -> Vec<u8> {
    let mut state = len as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

const SIZES: [usize; 9] = [0, 1, 255, 299, 32_767, 32_768, 32_769, 65_536, 1 << 20];

fn all_sizes_arrive(world: &World, command: Command) {
    let mut files = SIZES.map(|size| world.file(&format!("{size:08}.nmsg"), &bytes(size)));
    let (done, witness) = world.send(command, &mut files);
    assert_eq!(done, Ok(()), "{:?}", witness.heard);
    assert_eq!(witness.failed, []);
    assert_eq!(witness.confirmed.len(), files.len());
    assert!(files.iter().all(|file| world.has(file)));
    assert_eq!(world.names().len(), files.len());
}

#[test]
fn files_of_all_sizes_arrive() {
    let world = World::new();
    all_sizes_arrive(&world, world.rsync());
}

#[test]
fn files_of_all_sizes_arrive_behind_the_wrapper() {
    let world = World::new();
    all_sizes_arrive(&world, world.wrapped());
}

#[test]
fn files_arrive_at_servers_that_name_no_sums() {
    // As those of rsync 3.0, 3.1, and 3.2 without its letter for that.
    for letters in ["Lf", "Lfx", "LsfxCIu", ""] {
        let world = World::new();
        all_sizes_arrive(&world, world.older(letters));
    }
}

#[test]
fn files_arrive_at_servers_that_have_one_of_the_sums() {
    for sums in ["xxh128", "md5", "xxh64 sha1 md5"] {
        let world = World::new();
        let mut command = world.rsync();
        command.env("RSYNC_CHECKSUM_LIST", sums);
        all_sizes_arrive(&world, command);
    }
}

#[test]
fn a_server_that_has_neither_sum_is_named() {
    let world = World::new();
    let mut files = [world.file("a.nmsg", b"one")];
    let mut command = world.rsync();
    command.env("RSYNC_CHECKSUM_LIST", "md4");
    let failure = world.send(command, &mut files).0.unwrap_err();
    assert_eq!(failure.reason, "the server has neither of the checksums xxh128 and md5; it has: md4");
    assert!(failure.keeps_connection);
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn a_large_file_arrives_and_again_over_what_is_there() {
    let world = World::new();
    for round in 0..2 {
        let mut content = bytes(20 << 20);
        content[77] = round;
        let path = world.file("large.nmsg", &content).path().to_owned();
        // The far end goes by size and time in seconds.
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + u64::from(round));
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        let mut files = [Outgoing::open(&world.ours(), "large.nmsg").unwrap()];
        let (done, witness) = world.send(world.rsync(), &mut files);
        assert_eq!((done, witness.confirmed), (Ok(()), vec![0]));
        assert!(world.has(&files[0]));
    }
}

#[test]
fn what_is_there_already_is_confirmed() {
    let world = World::new();
    let mut files = [world.file("a.nmsg", b"one"), world.file("b.nmsg", b"two")];
    assert_eq!(world.send(world.rsync(), &mut files).0, Ok(()));
    // The far end goes by size and time.
    let time = fs::metadata(files[0].path()).unwrap().modified().unwrap();
    fs::File::options().write(true).open(world.arrived().join("a.nmsg")).unwrap().set_modified(time).unwrap();
    let (done, mut witness) = world.send(world.rsync(), &mut files);
    witness.confirmed.sort_unstable();
    assert_eq!((done, witness.confirmed), (Ok(()), vec![0, 1]));
}

#[test]
fn each_file_arrives_under_its_own_name() {
    let world = World::new();
    let long = format!("{}ü.nmsg", "x".repeat(238));
    assert_eq!(long.len(), 245);
    let names = ["A.nmsg", "a-b.nmsg", "a.nmsg", "a_b.nmsg", "ab.nmsg", &long, "z.nmsg", "é.nmsg", "日本.nmsg"];
    let mut made: Vec<_> = names.iter().rev().map(|name| world.file(name, name.as_bytes())).collect();
    made.reverse();
    let (done, witness) = world.send(world.rsync(), &mut made);
    assert_eq!((done, witness.confirmed.len()), (Ok(()), names.len()));
    assert!(made.iter().all(|file| world.has(file)));
}

#[test]
fn of_many_files_those_fail_that_cannot_be_stored() {
    let world = World::new();
    let mut files: Vec<_> =
        (0..700).map(|number| world.file(&format!("{number:04}.nmsg"), format!("{number}").as_bytes())).collect();
    let blocked = |number: usize| number % 100 == 42 || (200..500).contains(&number);
    for number in (0..700).filter(|number| blocked(*number)) {
        match number % 2 {
            // A directory that is not empty stands in the way; what is gone is not begun.
            0 => fs::create_dir_all(world.arrived().join(format!("{number:04}.nmsg/x"))).unwrap(),
            _ => fs::remove_file(files[number].path()).unwrap(),
        }
    }
    let (done, witness) = world.send(world.rsync(), &mut files);
    assert_eq!(done, Ok(()), "{:?}", witness.heard.last());
    for (number, reason) in &witness.failed {
        assert!(blocked(*number), "{number}: {reason}");
        match number % 2 {
            0 => assert!(reason.contains("could not make way") && reason.contains(files[*number].name()), "{reason}"),
            _ => assert_eq!(reason, "not there any more"),
        }
    }
    assert_eq!(witness.failed.len(), (0..700).filter(|number| blocked(*number)).count());
    assert!(witness.confirmed.iter().all(|number| world.has(&files[*number])));
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let world = World::new();
    let mut files = [world.file("a.nmsg", b"one")];
    // The last part of the way the server makes itself.
    fs::remove_dir(world.arrived()).unwrap();
    assert_eq!(world.send(world.rsync(), &mut files).0, Ok(()));
    fs::remove_dir_all(world.home().join("up")).unwrap();
    let (done, witness) = world.send(world.rsync(), &mut files);
    let failure = done.unwrap_err();
    assert!(failure.reason.contains("No such file or directory") && failure.keeps_connection, "{failure}");
    assert_eq!(witness.failed.len(), 1);
}

#[test]
fn a_directory_that_may_not_be_written_to_is_named() {
    if !Uid::effective().is_root() {
        return eprintln!("skipped: needs root");
    }
    let world = World::new();
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let as_nobody = || {
        let mut command = world.rsync();
        command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
        command
    };
    let mut files = [world.file("a.nmsg", b"one"), world.file("b.nmsg", b"two")];
    let (done, witness) = world.send(as_nobody(), &mut files);
    assert_eq!(done, Ok(()));
    assert_eq!(witness.failed.len(), 2);
    for (index, reason) in &witness.failed {
        assert!(reason.contains("Permission denied") && reason.contains(files[*index].name()), "{reason}");
    }
    fs::set_permissions(world.home().join("up"), fs::Permissions::from_mode(0o700)).unwrap();
    let failure = world.send(as_nobody(), &mut files).0.unwrap_err();
    assert!(failure.reason.contains("Permission denied") && failure.keeps_connection, "{failure}");
    chown(&world.arrived(), Some(nobody.uid), None).unwrap();
    fs::set_permissions(world.home().join("up"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(world.send(as_nobody(), &mut files).1.confirmed, [0, 1]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_what_fitted_is_confirmed() {
    if !Uid::effective().is_root() {
        return eprintln!("skipped: needs root");
    }
    let mut world = World::new();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(world.arrived()).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        return eprintln!("skipped: no file system can be mounted here");
    }
    world.is_mounted = true;
    let mut files = [0, 1, 2, 3].map(|number| world.file(&format!("{number}.nmsg"), &bytes(100_000)));
    let (done, witness) = world.send(world.rsync(), &mut files);
    let failure = done.unwrap_err();
    assert!(failure.reason.contains("No space left on device") && failure.keeps_connection, "{failure}");
    assert_eq!((&witness.confirmed[..], witness.failed.len()), (&[0, 1][..], 2));
    assert!(witness.failed[0].1.contains("No space left on device"), "{:?}", witness.failed);
    assert_eq!(world.names(), ["0.nmsg", "1.nmsg"]);
}

#[test]
fn a_wrapper_that_refuses_is_named() {
    let world = World::new();
    let mut files = [world.file("a.nmsg", b"one")];
    let mut command = Command::new("rrsync");
    command.arg("-ro").arg(world.home()).env("SSH_ORIGINAL_COMMAND", rsync::command("up/ch202/").unwrap());
    let failure = world.send(command, &mut files).0.unwrap_err();
    assert!(failure.reason.contains("rrsync") && failure.keeps_connection, "{failure}");
    assert_eq!(world.names(), [""; 0]);
}
