//! Files to a real sshd by SFTP.

use super::{
    program::Scratch,
    ssh::{STALL, Site, Watch},
};
use sie_dns_sensor::upload::{Failure, Outgoing, Step, Turn, sftp, ssh::Connection};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

/// A server, files to send, and the directory that they are to come to.
struct Way {
    site: Site,
    here: Scratch,
    there: Scratch,
}

impl Way {
    fn new() -> Option<Way> {
        Some(Way { site: Site::new("", "")?, here: Scratch::new(), there: Scratch::new() })
    }

    fn outgoing(&self, name: &str, bytes: &[u8]) -> Outgoing {
        self.here.file(name, bytes);
        Outgoing::open(&self.here.path(""), name).unwrap()
    }

    fn remote_dir(&self) -> String {
        self.there.path("").to_str().unwrap().to_owned()
    }

    fn send(&self, files: &mut [Outgoing]) -> (Watch, Result<(), Failure>) {
        send(&mut self.site.connection(), &self.remote_dir(), files)
    }

    fn arrived(&self, name: &str) -> Vec<u8> {
        fs::read(self.there.path(name)).unwrap()
    }
}

fn send(connection: &mut Connection, remote_dir: &str, files: &mut [Outgoing]) -> (Watch, Result<(), Failure>) {
    let mut watch = Watch::new();
    let result = sftp::send(connection, remote_dir, files, &mut watch);
    (watch, result)
}

/// Bytes that are not the same anywhere.
fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64)
        .flat_map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes())
        .take(length)
        .collect()
}

#[test]
fn files_of_any_size_arrive_under_their_names_and_nothing_else_does() {
    let Some(way) = Way::new() else { return };
    let sizes = [0, 1, 29_999, 30_000, 30_001, 262_144, 262_145, 1_000_000];
    let name = |size| format!("host.example.{size}.nmsg");
    let mut files: Vec<_> = sizes.iter().map(|&size| way.outgoing(&name(size), &bytes(size))).collect();
    let (watch, result) = way.send(&mut files);
    result.unwrap();
    assert_eq!((watch.confirmed, watch.failed), ((0..sizes.len()).collect(), Vec::new()));
    assert_eq!(watch.sent, sizes.iter().sum::<usize>());
    for size in sizes {
        assert_eq!(way.arrived(&name(size)), bytes(size));
    }
    assert_eq!(way.there.names().len(), sizes.len());
}

#[test]
fn twenty_megabytes_arrive() {
    let Some(way) = Way::new() else { return };
    let mut files = [way.outgoing("a.nmsg", &bytes(20_000_000))];
    let mut connection = way.site.connection();
    let began = Instant::now();
    let (watch, result) = send(&mut connection, &way.remote_dir(), &mut files);
    result.unwrap();
    eprintln!("20 MB in {:?}", began.elapsed());
    assert_eq!(watch.confirmed, [0]);
    assert!(way.arrived("a.nmsg") == bytes(20_000_000));
}

#[test]
fn many_batches_pass_over_one_connection() {
    let Some(way) = Way::new() else { return };
    let mut connection = way.site.connection();
    for batch in 0..5 {
        let mut files: Vec<_> =
            (0..20).map(|file| way.outgoing(&format!("{batch}-{file}"), &bytes(file * 999))).collect();
        let (watch, result) = send(&mut connection, &way.remote_dir(), &mut files);
        result.unwrap();
        assert_eq!(watch.confirmed.len(), 20);
    }
    assert_eq!(way.there.names().len(), 100);
    assert!(connection.is_usable());
}

#[test]
fn what_is_there_already_and_equal_is_confirmed_and_what_differs_is_replaced() {
    let Some(way) = Way::new() else { return };
    let ours = bytes(100_000);
    let mut other = ours.clone();
    other[99_999] ^= 1;
    let equal = way.there.file("equal", &ours);
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&equal);
    way.there.file("differs", &other);
    way.there.file("shorter", &ours[..99_999]);
    way.there.file("empty", b"");
    fs::create_dir(way.there.path("directory")).unwrap();
    let names = ["equal", "differs", "shorter", "empty", "directory"];
    let mut files: Vec<_> = names.iter().map(|name| way.outgoing(name, &ours)).collect();
    let (watch, result) = way.send(&mut files);
    result.unwrap();
    assert_eq!(watch.confirmed, [0, 1, 2, 3]);
    assert!(
        matches!(&watch.failed[..], [(4, reason)] if reason.contains("is there and no file")),
        "{:?}",
        watch.failed
    );
    assert_eq!(inode(&equal), before, "the file that was there is still the same");
    assert!(names[..4].iter().all(|name| way.arrived(name) == ours));
    assert_eq!(way.there.names().len(), 5);
}

#[test]
fn the_last_part_of_the_directory_is_made_and_no_other() {
    let Some(way) = Way::new() else { return };
    let mut connection = way.site.connection();
    let directory = format!("{}up/", way.remote_dir());
    let (watch, result) = send(&mut connection, &directory, &mut [way.outgoing("a", b"a")]);
    result.unwrap();
    assert_eq!(watch.confirmed, [0]);
    assert_eq!(way.arrived("up/a"), b"a");
    let mut files = [way.outgoing("a", b"a"), way.outgoing("b", b"b")];
    let (watch, result) = send(&mut connection, &format!("{}no/up/", way.remote_dir()), &mut files);
    let failure = result.unwrap_err();
    assert!(failure.keeps_connection && failure.step == Step::Transfer, "{failure}");
    assert!(
        failure.reason.contains("cannot make the directory") && failure.reason.contains("no such file"),
        "{failure}"
    );
    assert_eq!(watch.failed.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
    assert!(watch.failed.iter().all(|(_, reason)| *reason == failure.reason));
    let (watch, result) = send(&mut connection, &directory, &mut [way.outgoing("c", b"c")]);
    assert!(result.is_ok() && watch.confirmed == [0], "the connection is as good as before");
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_not_confirmed_and_leaves_nothing() {
    let Some(way) = Way::new() else { return };
    let mut files =
        [way.outgoing("grows", &bytes(50_000)), way.outgoing("shrinks", &bytes(50_000)), way.outgoing("stays", b"s")];
    File::options().append(true).open(way.here.path("grows")).unwrap().write_all(b"more").unwrap();
    File::options().write(true).open(way.here.path("shrinks")).unwrap().set_len(10).unwrap();
    let (watch, result) = way.send(&mut files);
    result.unwrap();
    assert_eq!(watch.confirmed, [2]);
    assert_eq!(watch.failed.len(), 2);
    assert!(
        watch.failed.iter().all(|(_, reason)| reason.contains("it changed while it was sent")),
        "{:?}",
        watch.failed
    );
    assert_eq!(way.there.names(), ["stays"]);
}

#[test]
fn hidden_files_of_ours_go_after_a_day_and_no_others() {
    let Some(way) = Way::new() else { return };
    let old = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    let young = SystemTime::now() - Duration::from_secs(23 * 60 * 60);
    for (name, modified) in [
        (".a.nmsg.0123abcd.sie-part", old),
        (".b.nmsg.0123abcd.sie-part", young),
        (".a.nmsg.x6fj3k", old),
        ("a.nmsg.0123abcd.sie-part", old),
        ("old.nmsg", old),
    ] {
        let path = way.there.file(name, b"x");
        File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    }
    let (watch, result) = way.send(&mut [way.outgoing("new.nmsg", b"n")]);
    result.unwrap();
    assert_eq!(watch.confirmed, [0]);
    let left = [".a.nmsg.x6fj3k", ".b.nmsg.0123abcd.sie-part", "a.nmsg.0123abcd.sie-part", "new.nmsg", "old.nmsg"];
    assert_eq!(way.there.names(), left);
}

#[test]
fn a_rate_is_kept_and_waiting_for_it_is_no_stall() {
    let Some(way) = Way::new() else { return };
    let mut watch = Watch { allowance: 777, starved_turns: 40, ..Watch::hasty() };
    let mut files = [way.outgoing("a", &bytes(100_000))];
    sftp::send(&mut way.site.connection(), &way.remote_dir(), &mut files, &mut watch).unwrap();
    assert_eq!((watch.confirmed, watch.sent), (vec![0], 100_000));
    assert!(watch.longest < STALL, "{:?}", watch.longest);
    assert!(way.arrived("a") == bytes(100_000));
}

#[test]
fn a_batch_that_is_cut_short_is_left_between_files_and_one_to_be_left_at_once() {
    let Some(way) = Way::new() else { return };
    let mut connection = way.site.connection();
    let mut files = [way.outgoing("a", &bytes(100_000)), way.outgoing("b", b"b")];
    // Once sftp has begun, the first turn is that before the first file.
    send(&mut connection, &way.remote_dir(), &mut []).1.unwrap();
    let mut watch = Watch { next: Turn::CutShort, next_after: 1, ..Watch::new() };
    sftp::send(&mut connection, &way.remote_dir(), &mut files, &mut watch).unwrap();
    assert_eq!((watch.confirmed, watch.failed.len()), (vec![0], 0));
    assert!(connection.is_usable());
    let mut watch = Watch { next: Turn::Leave, next_after: 1, ..Watch::new() };
    let failure = sftp::send(&mut connection, &way.remote_dir(), &mut files, &mut watch).unwrap_err();
    assert!(!failure.keeps_connection && !connection.is_usable(), "{failure}");
    assert_eq!((watch.confirmed.len(), watch.failed.len()), (0, 2));
}

#[test]
fn a_server_without_sftp_is_said_to_be_one() {
    let Some(site) = Site::new("command=\"echo no sftp here\"", "") else { return };
    let here = Scratch::new();
    here.file("a", b"a");
    let mut files = [Outgoing::open(&here.path(""), "a").unwrap()];
    let (watch, result) = send(&mut site.connection(), "up", &mut files);
    let failure = result.unwrap_err();
    assert!(failure.step == Step::Command && failure.reason.contains("does not start sftp"), "{failure}");
    assert_eq!(watch.failed.len(), 1);
}

/// A directory that sshd takes for a root, with `up` for nobody and `closed` for root.
struct Chroot(PathBuf);

impl Chroot {
    fn new(test: &str) -> Option<Chroot> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        let chroot = Chroot(PathBuf::from(format!("/run/sie-sftp-{}-{test}", std::process::id())));
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        for directory in ["", "up", "closed"] {
            let path = chroot.0.join(directory);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        nix::unistd::chown(&chroot.0.join("up"), Some(nobody.uid), Some(nobody.gid)).unwrap();
        Some(chroot)
    }

    /// A server for it.
    fn site(&self) -> Option<Site> {
        let lines = "Match User nobody\nForceCommand internal-sftp\nChrootDirectory";
        let mut site = Site::new("", &format!("{lines} {}\n", self.0.display()))?;
        site.account.login = "nobody".to_owned();
        Some(site)
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_user_in_a_chroot_with_internal_sftp_is_enough() {
    let Some(chroot) = Chroot::new("user") else { return };
    let Some(site) = chroot.site() else { return };
    let here = Scratch::new();
    let mut files = ["a", "b"].map(|name| {
        here.file(name, bytes(70_000));
        Outgoing::open(&here.path(""), name).unwrap()
    });
    let mut connection = site.connection();
    let (watch, result) = send(&mut connection, "up/ch202/", &mut files);
    result.unwrap();
    assert_eq!(watch.confirmed, [0, 1]);
    assert!(fs::read(chroot.0.join("up/ch202/b")).unwrap() == bytes(70_000));
    // Where nothing may be written, one question is enough for all files.
    let (watch, result) = send(&mut connection, "closed", &mut files);
    let failure = result.unwrap_err();
    assert!(failure.keeps_connection && failure.reason.contains("permission denied"), "{failure}");
    assert!(failure.reason.starts_with("cannot create closed/a: "), "{failure}");
    assert_eq!((watch.confirmed.len(), watch.failed.len()), (0, 2));
    // A file that is there and may not be replaced.
    let sticky = chroot.0.join("up/sticky");
    fs::create_dir(&sticky).unwrap();
    fs::set_permissions(&sticky, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(sticky.join("a"), b"root's").unwrap();
    let (watch, result) = send(&mut connection, "up/sticky", &mut files);
    result.unwrap();
    assert_eq!(watch.confirmed, [1]);
    assert!(watch.failed[0].1.contains("cannot replace up/sticky/a: permission denied"), "{:?}", watch.failed);
    let names: Vec<_> = fs::read_dir(&sticky).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// A file system of 256 KiB.
struct Tiny(PathBuf);

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_no_file() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let Some(way) = Way::new() else { return };
    let tiny = Tiny(way.there.path("tiny"));
    fs::create_dir(&tiny.0).unwrap();
    let mut mount = Command::new("mount");
    if !mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&tiny.0).status().unwrap().success() {
        eprintln!("skipped: cannot mount a tmpfs");
        return;
    }
    let mut files =
        [way.outgoing("fits", &bytes(50_000)), way.outgoing("large", &bytes(900_000)), way.outgoing("next", b"n")];
    let mut connection = way.site.connection();
    let (watch, result) = send(&mut connection, tiny.0.to_str().unwrap(), &mut files);
    let failure = result.unwrap_err();
    assert!(failure.keeps_connection && failure.reason.contains("no space left there"), "{failure}");
    assert!(failure.reason.starts_with(&format!("cannot write {}/large: ", tiny.0.display())), "{failure}");
    assert_eq!((watch.confirmed, watch.failed.len()), (vec![0], 2));
    let names: Vec<_> = fs::read_dir(&tiny.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["fits"]);
    fs::remove_file(tiny.0.join("fits")).unwrap();
    let (watch, result) = send(&mut connection, tiny.0.to_str().unwrap(), &mut files[2..]);
    assert!(result.is_ok() && watch.confirmed == [0]);
}

/// Passes bytes on until so many have gone one way, and ends both connections then, or swallows the rest.
struct Cut {
    port: u16,
    counted: thread::JoinHandle<(usize, usize)>,
}

impl Cut {
    fn new(target: u16, up: usize, down: usize, swallows: bool) -> Cut {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let counted = thread::spawn(move || {
            let client = listener.accept().unwrap().0;
            let server = TcpStream::connect(("127.0.0.1", target)).unwrap();
            thread::scope(|scope| {
                let upward = scope.spawn(|| pass(&client, &server, up, swallows));
                let downward = pass(&server, &client, down, swallows);
                (upward.join().unwrap(), downward)
            })
        });
        Cut { port, counted }
    }
}

/// How many bytes went.
fn pass(mut from: &TcpStream, mut to: &TcpStream, limit: usize, swallows: bool) -> usize {
    let mut buffer = [0; 4096];
    let mut passed = 0;
    while passed < limit {
        let length = buffer.len().min(limit - passed);
        match from.read(&mut buffer[..length]) {
            Ok(length @ 1..) if to.write_all(&buffer[..length]).is_ok() => passed += length,
            _ => break,
        }
    }
    while swallows && matches!(from.read(&mut buffer), Ok(1..)) {}
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    passed
}

#[test]
fn wherever_the_connection_is_cut_no_torn_file_has_its_name_and_the_next_one_confirms_all() {
    let Some(way) = Way::new() else { return };
    let contents = [bytes(200_000), bytes(0), bytes(40_000)];
    let names = ["a.nmsg", "b.nmsg", "c.nmsg"];
    let mut files: Vec<_> = names.iter().zip(&contents).map(|(name, bytes)| way.outgoing(name, bytes)).collect();
    let mut attempt = |up, down| {
        let cut = Cut::new(way.site.server.port, up, down, false);
        let stream = TcpStream::connect(("127.0.0.1", cut.port)).unwrap();
        let mut watch = Watch::new();
        let port = way.site.server.port;
        let opened = Connection::open(stream, "localhost", port, &way.site.account, &mut watch);
        let result = opened.and_then(|mut connection| {
            let result = sftp::send(&mut connection, &way.remote_dir(), &mut files, &mut watch);
            assert!(result.is_ok() || watch.confirmed.len() + watch.failed.len() == 3, "{result:?} {:?}", watch.failed);
            result
        });
        (result, watch.confirmed, cut.counted.join().unwrap())
    };
    let (result, _, (up, down)) = attempt(usize::MAX, usize::MAX);
    result.unwrap();
    let remove = |name: &&str| fs::remove_file(way.there.path(name)).is_ok();
    assert!(names.iter().all(remove));
    let near_the_end = (0..25).map(|step| step * 60);
    let ups =
        (0..20).map(|step| up * step / 20).chain(near_the_end.clone().map(|back| up - back)).map(|up| (up, usize::MAX));
    let downs = (10..20).map(|step| down * step / 20).chain(near_the_end.map(|back| down.saturating_sub(back)));
    let (mut cuts, mut confirmed_late) = (0, 0);
    for (up, down) in ups.chain(downs.map(|down| (usize::MAX, down))) {
        let (result, confirmed, _) = attempt(up, down);
        cuts += usize::from(result.is_err());
        for (index, name) in names.iter().enumerate() {
            match fs::read(way.there.path(name)) {
                Ok(found) => {
                    assert!(found == contents[index], "{name} is torn, cut at {up} {down}");
                    confirmed_late += usize::from(!confirmed.contains(&index));
                }
                Err(_) => assert!(!confirmed.contains(&index), "{name} is confirmed and not there"),
            }
        }
        if cuts % 7 == 0 {
            let (result, confirmed, _) = attempt(usize::MAX, usize::MAX);
            result.unwrap();
            assert_eq!(confirmed, [0, 1, 2]);
            assert!(names.iter().all(remove));
        }
    }
    eprintln!("{cuts} cuts, {confirmed_late} files there without a confirmation");
    assert!(cuts > 40 && confirmed_late > 0);
}

#[test]
fn a_server_that_falls_silent_in_a_file_is_left_when_the_time_is_over() {
    let Some(way) = Way::new() else { return };
    let mut files = [way.outgoing("a", &bytes(500_000)), way.outgoing("b", b"b")];
    // The server says little: its last 500 bytes are about the files.
    let count = Cut::new(way.site.server.port, usize::MAX, usize::MAX, false);
    let stream = TcpStream::connect(("127.0.0.1", count.port)).unwrap();
    let port = way.site.server.port;
    let mut connection = Connection::open(stream, "localhost", port, &way.site.account, &mut Watch::new()).unwrap();
    send(&mut connection, &way.remote_dir(), &mut files).1.unwrap();
    drop(connection);
    let (_, down) = count.counted.join().unwrap();
    ["a", "b"].iter().for_each(|name| fs::remove_file(way.there.path(name)).unwrap());
    for (up, down) in [(100_000, usize::MAX), (usize::MAX, down - 500)] {
        let cut = Cut::new(port, up, down, true);
        let stream = TcpStream::connect(("127.0.0.1", cut.port)).unwrap();
        let mut watch = Watch::hasty();
        let mut connection = Connection::open(stream, "localhost", port, &way.site.account, &mut watch).unwrap();
        let began = Instant::now();
        let failure = sftp::send(&mut connection, &way.remote_dir(), &mut files, &mut watch).unwrap_err();
        drop(connection);
        assert!(failure.reason.contains("for 30 s"), "{failure}");
        assert!(!failure.keeps_connection && watch.failed.len() + watch.confirmed.len() == 2, "{failure}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert!(watch.longest < STALL, "{:?}", watch.longest);
        assert!(watch.confirmed.iter().all(|&index| way.there.path(["a", "b"][index]).exists()));
        assert!(up == usize::MAX || watch.confirmed.is_empty() && !way.there.path("a").exists());
    }
}
