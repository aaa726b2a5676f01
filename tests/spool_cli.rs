//! `spool list`, `spool requeue` and `spool verify`.

use super::program::{Ended, Scratch, run};
use nix::unistd::{Gid, Uid, User, chown, geteuid};
use sie_dns_sensor::upload::{
    FailedFile, State, Word,
    state::{self, Writer},
};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A spool, as the user sees it who asks, and its settings.
struct Spool(Scratch);

/// The user of both processes, when root asks.
const USER: &str = "nobody";

impl Spool {
    fn new() -> Spool {
        let spool = Spool(Scratch::new());
        for directory in ["new/c", "waiting/c", "archive/c"] {
            fs::create_dir_all(spool.0.path(directory)).unwrap();
        }
        let directory = spool.0.path("").display().to_string();
        let settings = format!("spooldir=\"{directory}\"\nchannel=c\nuser={USER}\nupload_user={USER}\n");
        spool.0.file("settings", settings);
        spool
    }

    fn put(&self, directory: &str, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.0.file(&format!("{directory}/c/{name}"), content)
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.path(directory).join("c")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Gives everything to the user that uploads.
    fn hand_over(&self) {
        if !geteuid().is_root() {
            return;
        }
        let user = User::from_name(USER).unwrap().unwrap();
        for stage in ["new", "waiting", "archive"] {
            let channel = self.0.path(stage).join("c");
            let files = fs::read_dir(&channel).unwrap().map(|entry| entry.unwrap().path());
            for path in files.chain([channel.clone()]) {
                give(&path, user.uid, user.gid);
            }
        }
    }

    fn run(&self, command: &str, args: &[&str]) -> Ended {
        let settings = self.0.path("settings");
        let all = ["spool", command, "-c", settings.to_str().unwrap()];
        run(all.iter().chain(args))
    }

    fn list(&self) -> serde_json::Value {
        serde_json::from_slice(&self.run("list", &["--json"]).with_code(0).stdout).unwrap()
    }
}

fn give(path: &Path, user: Uid, group: Gid) {
    if path.symlink_metadata().unwrap().is_symlink() {
        return;
    }
    chown(path, Some(user), Some(group)).unwrap();
}

/// The name of a file that began so long ago.
fn name(host: &str, seconds: u64) -> String {
    let then = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - Duration::from_secs(seconds);
    named(host, then.as_secs())
}

fn named(host: &str, time: u64) -> String {
    let at = jiff::Timestamp::from_second(time.try_into().unwrap()).unwrap();
    format!("{host}.{}.{time}.000000000.nmsg", at.strftime("%Y%m%d.%H%M"))
}

fn good() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors/expected/udp4.nmsg")).unwrap()
}

#[test]
fn list_shows_what_waits_with_its_age_its_size_and_its_troubles() {
    let spool = Spool::new();
    let (old, young) = (name("h", 2 * 86_400 + 7_300), name("h", 125));
    spool.put("waiting", &young, [1; 3000]);
    spool.put("waiting", &old, [1; 1024]);
    spool.put("waiting", ".hidden.nmsg", "");
    spool.put("new", &name("h", 5), "x");
    let waiting = spool.0.path("waiting/c");
    let failed = FailedFile { name: old.clone(), tries: 3, error: Some("disk full".into()), next_try: None };
    let word = Word { server: Some("192.0.2.1:49222".into()), files: 7, bytes: 7 * 1024, ..Word::default() };
    let state = State { process: std::process::id(), word, failed: vec![failed] };
    Writer::new(&waiting).write(state, Duration::ZERO).unwrap();
    assert!(state::read(&waiting).is_some());
    let listed = spool.run("list", &[]).with_code(0);
    let width = old.len();
    let pid = std::process::id();
    let expected = format!(
        "{:width$}          AGE  KILOBYTES TRIES  LAST ERROR\n\
         {old}      2 d 2 h          1     3  disk full\n\
         {young:width$}        2 min          3     0\n\
         waiting: 2 files, 4 kilobytes, the oldest 2 d 2 h\n\
         new: 1 file, 1 kilobytes, the oldest 5 s\n\
         archive: 0 files, 0 kilobytes\n\
         uploader: process {pid}; connected to 192.0.2.1:49222; sent 7 files, 7 kilobytes\n",
        "NAME"
    );
    assert_eq!(listed.text().replace("oldest 6 s", "oldest 5 s"), expected);
    let json = spool.list();
    assert_eq!(json["files"][0]["name"], old);
    assert_eq!((&json["files"][0]["tries"], &json["files"][0]["error"]), (&3.into(), &"disk full".into()));
    assert_eq!((&json["files"][1]["bytes"], &json["files"][1]["tries"]), (&3000.into(), &0.into()));
    assert_eq!((&json["waiting"]["files"], &json["waiting"]["bytes"]), (&2.into(), &4024.into()));
    assert_eq!((&json["archive"]["oldest"], &json["uploader"]["running"]), (&serde_json::Value::Null, &true.into()));
}

#[test]
fn hostile_names_move_no_cursor() {
    let spool = Spool::new();
    spool.put("waiting", "\u{1b}[2J.nmsg", "");
    spool.put("archive", "\u{1b}[2J.nmsg", "NMSG");
    symlink("/etc/passwd", spool.0.path("waiting/c/link.nmsg")).unwrap();
    fs::write(spool.0.path("waiting/c/.uploader.json"), "garbage").unwrap();
    let listed = spool.run("list", &[]).with_code(0);
    assert!(listed.text().contains("\\u{1b}[2J.nmsg") && !listed.text().contains('\u{1b}'), "{}", listed.text());
    assert_eq!(listed.text().matches("left alone").count(), 2);
    assert!(listed.text().ends_with("uploader: none has said anything\n"));
    let verified = spool.run("verify", &[]).with_code(1);
    assert!(verified.text().ends_with("checked 2 files: 2 bad\n"), "{}", verified.text()); // the link is none
    assert!(!verified.text().contains('\u{1b}') && !verified.stderr.contains('\u{1b}'));
}

#[test]
fn a_channel_that_is_not_there_is_no_empty_one() {
    let spool = Spool::new();
    for command in ["list", "verify"] {
        let ended = spool.run(command, &["--set", "channel=typo"]).with_code(2);
        assert!(ended.stderr.starts_with("sie-dns-sensor spool: there is no channel typo in "), "{}", ended.stderr);
    }
    assert_eq!(run(["spool", "list", "-c", "/nonexistent"]).code, 78);
    assert_eq!(spool.run("list", &["--set", "spoldir=x"]).code, 78);
    fs::remove_dir(spool.0.path("archive/c")).unwrap();
    spool.run("list", &[]).with_code(0);
}

#[test]
fn requeued_files_wait_again_and_stay_archived() {
    let spool = Spool::new();
    let names = [100, 200, 300].map(|time| named("h", time));
    names.iter().for_each(|name| drop(spool.put("archive", name, name)));
    spool.put("archive", "timeless.nmsg", "x");
    spool.hand_over();
    let path = spool.0.path("archive/c").join(&names[0]);
    let ended = spool.run("requeue", &[path.to_str().unwrap()]).with_code(0);
    assert_eq!((ended.text(), ended.stderr.as_str()), ("requeued 1 file\n", ""));
    assert_eq!(spool.names("waiting"), names[..1]);
    assert_eq!(fs::read_to_string(spool.0.path("waiting/c").join(&names[0])).unwrap(), names[0]);
    let ended = spool.run("requeue", &["--since", "200", "--until", "1970-01-01T00:05:00Z"]).with_code(0);
    assert_eq!(ended.text(), "requeued 1 file\n");
    assert_eq!(spool.names("waiting"), names[..2]);
    let ended = spool.run("requeue", &["--all"]).with_code(0);
    assert_eq!(ended.text(), "requeued 2 files; 2 waiting already\n");
    assert_eq!(spool.names("waiting"), spool.names("archive"));
    let waiting = fs::metadata(spool.0.path("waiting/c").join(&names[0])).unwrap();
    assert_eq!(waiting.mode() & 0o400, 0o400);
    assert!(!geteuid().is_root() || waiting.uid() == User::from_name(USER).unwrap().unwrap().uid.as_raw());
}

#[test]
fn what_root_archived_is_copied_for_the_user_who_uploads() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let spool = Spool::new();
    spool.hand_over();
    // As the old package's files are another user's: to be read, not to be linked (where hard links are protected).
    let path = spool.put("archive", "a.nmsg", "one");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(spool.run("requeue", &["a.nmsg"]).with_code(0).text(), "requeued 1 file\n");
    let is_protected = fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|on| on.trim() == "1");
    let waiting = fs::metadata(spool.0.path("waiting/c/a.nmsg")).unwrap();
    assert_eq!(waiting.nlink(), if is_protected { 1 } else { 2 });
    assert_eq!(spool.names("waiting"), ["a.nmsg"]);
}

#[test]
fn nothing_is_requeued_over_another_file_or_from_elsewhere() {
    let spool = Spool::new();
    let elsewhere = spool.put("new", "b.nmsg", "elsewhere");
    spool.put("archive", "a.nmsg", "one");
    spool.put("waiting", "a.nmsg", "two");
    symlink(&elsewhere, spool.0.path("archive/c/link.nmsg")).unwrap();
    spool.hand_over();
    let ended = spool.run("requeue", &["a.nmsg", "link.nmsg", "missing.nmsg"]).with_code(1);
    let reasons = ["another file of that name waits", "not a regular file", "No such file or directory"];
    for (line, reason) in ended.stderr.lines().zip(reasons) {
        assert!(line.starts_with("sie-dns-sensor spool: cannot requeue ") && line.contains(reason), "{line}");
    }
    assert_eq!((ended.text(), ended.stderr.lines().count()), ("requeued 0 files\n", 3));
    assert_eq!(fs::read(spool.0.path("waiting/c/a.nmsg")).unwrap(), b"two");
    for file in [elsewhere.to_str().unwrap(), "../new/b.nmsg", "a b.nmsg", ".hidden.nmsg", "\u{1b}.nmsg"] {
        let ended = spool.run("requeue", &[file]).with_code(2);
        assert!(ended.stderr.contains(" is not a file of the sensor's in ") && !ended.stderr.contains('\u{1b}'));
    }
    assert_eq!(spool.names("waiting"), ["a.nmsg"]);
    assert_eq!(spool.run("requeue", &[]).code, 2);
    let ended = spool.run("requeue", &["--since", "yesterday"]).with_code(2);
    assert!(ended.stderr.contains("--since \"yesterday\": write "), "{}", ended.stderr);
}

#[test]
fn requeueing_more_than_may_wait_is_warned_about() {
    let spool = Spool::new();
    spool.put("archive", "a.nmsg", [1; 5000]);
    spool.hand_over();
    let ended = spool.run("requeue", &["--all", "--set", "max_spool_size_kbytes=2"]).with_code(0);
    assert!(ended.stderr.contains("5 kilobytes wait, more than max_spool_size_kbytes=\"2\""), "{}", ended.stderr);
}

#[test]
fn verify_finds_what_is_not_whole_and_where() {
    let spool = Spool::new();
    spool.put("new", "a.nmsg", good());
    spool.put("waiting", "b.nmsg", [good(), good()].concat());
    let all_good = spool.run("verify", &[]).with_code(0);
    assert_eq!(all_good.text(), "checked 2 files: 0 bad\n");
    let torn = spool.put("archive", "c.nmsg", [&good()[..], &good()[..20]].concat());
    let empty = spool.put("archive", "d.nmsg", "");
    let noise = spool.put("archive", "e.nmsg", b"NMSG\0\x02\0\0\0\x01\xff".repeat(30));
    let ended = spool.run("verify", &[]).with_code(1);
    let lines: Vec<&str> = ended.text().lines().collect();
    let place = good().len();
    assert_eq!(lines[0], format!("{}: offset {place}: the input ends inside this container", torn.display()));
    assert_eq!(lines[1], format!("{}: no container", empty.display()));
    assert!(lines[2..12].iter().all(|line| line.starts_with(&format!("{}: offset ", noise.display()))), "{lines:?}");
    assert_eq!(lines[12..], [format!("{}: 20 more places", noise.display()), "checked 5 files: 3 bad".into()]);
    assert_eq!(spool.run("verify", &["a.nmsg", "b.nmsg"]).with_code(0).text(), "checked 2 files: 0 bad\n");
    assert_eq!(spool.run("verify", &[empty.to_str().unwrap()]).code, 1);
    let missing = spool.run("verify", &["a.nmsg", "missing.nmsg"]).with_code(2);
    assert_eq!(
        missing.stderr,
        "sie-dns-sensor spool: cannot read missing.nmsg: No such file or directory (os error 2)\n"
    );
}
