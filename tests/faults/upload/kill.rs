//! Uploaders, and what serves them, killed at random moments.

use super::{
    super::{
        Role, SOON as AT_ONCE, Sensor,
        kill::{Random, variable},
    },
    SOON, Site, content, name,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    thread,
    time::{Duration, Instant, SystemTime},
};

/// How many are killed unless the variable SIE_KILLS says otherwise.
const KILLS: u64 = 12;
/// Bytes of the largest file: half a second at [`RATE`].
const LARGEST: u64 = 1 << 20;
/// Kilobytes a second: of a few files, one is always on its way.
const RATE: &str = "2000";

struct Trial<'s> {
    site: &'s Site,
    random: Random,
    made: BTreeSet<String>,
    /// Those that were found whole at the server, by inode.
    whole: BTreeMap<String, u64>,
}

impl Trial<'_> {
    /// Publishes some files.
    fn publish(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            let name = name(1_700_000_000 + self.made.len() as u64);
            self.site.put(&name, &content(&name, LARGEST));
            self.made.insert(name);
        }
    }

    /// One of the processes behind a connection, if there is one.
    fn kill_session(&mut self) -> bool {
        let all = self.site.server.as_ref().unwrap().descendants();
        let Some(victim) = all.get(self.random.below(all.len().max(1) as u64) as usize) else { return false };
        kill(Pid::from_raw(*victim), Signal::SIGKILL).is_ok()
    }

    /// What has its name at the server is whole, and no file is missing.
    #[track_caller]
    fn check(&mut self) {
        let here = self.site.here();
        let there = self.site.arrived();
        for name in &there {
            // One that is replaced is there all the same.
            let mut file = fs::File::open(self.site.there().join(name)).unwrap();
            let inode = file.metadata().unwrap().ino();
            if self.whole.get(name) == Some(&inode) {
                continue;
            }
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            assert!(self.made.contains(name) && bytes == content(name, LARGEST), "{name}: {} bytes", bytes.len());
            self.whole.insert(name.clone(), inode);
        }
        let lost: Vec<_> = self.made.iter().filter(|name| !here.contains(*name) && !there.contains(*name)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}

fn killed(mut uploader: Sensor) {
    // The one that does the work first: it would leave in order, were its parent gone.
    kill(Pid::from_raw(uploader.child(Role::Upload)), Signal::SIGKILL).unwrap();
    uploader.signal(Signal::SIGKILL);
    uploader.process.wait().unwrap();
    uploader.has_no_bug();
}

#[test]
fn whatever_is_killed_each_file_is_at_the_server_whole_or_still_here() {
    let Some(site) = Site::new() else { return };
    let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let (kills, seed) = (variable("SIE_KILLS", KILLS), variable("SIE_SEED", seed | 1));
    println!("SIE_KILLS={kills} SIE_SEED={seed}");
    site.configure(&[("upload_rate_kbytes", RATE), ("maxper", "8")]);
    let mut trial = Trial { site: &site, random: Random(seed | 1), made: BTreeSet::new(), whole: BTreeMap::new() };
    let mut uploader = site.upload(&[]);
    let (mut uploaders, mut sessions, mut on_the_way) = (0, 0, 0);
    while uploaders + sessions < kills {
        trial.publish();
        let pause = trial.random.millis(1000);
        thread::sleep(pause);
        if trial.random.below(3) == 0 {
            sessions += u64::from(trial.kill_session());
        } else {
            killed(uploader);
            uploaders += 1;
            on_the_way += u64::from(!site.here().is_empty());
            trial.check();
            uploader = site.upload(&[]);
        }
        trial.check();
    }
    // Its server was perhaps killed just now; a new one does not wait for the next try.
    killed(uploader);
    let uploader = site.upload(&[]);
    site.all_arrive(Duration::from_secs(180));
    trial.check();
    assert_eq!(site.arrived(), trial.made);
    drop(uploader);
    println!(
        "killed {uploaders} uploaders, {on_the_way} of them with files to send, and {sessions} processes of the server; {} files",
        trial.made.len()
    );
}

#[test]
fn of_two_uploaders_one_waits_says_for_whom_and_takes_over() {
    let Some(site) = Site::new() else { return };
    let first = site.upload(&[]);
    site.put(&name(1_700_000_000), b"one");
    site.all_arrive(SOON);
    let second = site.upload(&[]);
    second.says(&format!("another uploader (process {}) has the files of ", first.child(Role::Upload)));
    let (two, three) = (name(1_700_000_060), name(1_700_000_120));
    site.put(&two, b"two");
    first.says(&two);
    let began = Instant::now();
    killed(first);
    second.says("the other uploader has left; this one goes on");
    site.put(&three, b"three");
    second.says(&three);
    println!("taken over within {:?}", began.elapsed());
    assert_eq!((second.uploaded(), site.arrived().len()), (vec![three], 3));
    // Whoever was killed has left word of itself, which is not taken for the other's.
    let third = site.upload(&[]);
    third.says(&format!("another uploader (process {}) has the files of ", second.child(Role::Upload)));
}

#[test]
fn a_server_that_is_killed_with_all_its_sessions_gets_everything_when_it_is_back() {
    let Some(mut site) = Site::new() else { return };
    site.configure(&[("upload_rate_kbytes", RATE)]);
    let names: BTreeSet<String> = (0..10).map(|number| name(1_700_000_000 + number)).collect();
    names.iter().for_each(|name| site.put(name, &content(name, LARGEST)));
    let uploader = site.upload(&[]);
    super::wait_for("a file at the server", SOON, || (!site.arrived().is_empty()).then_some(()));
    site.server = None;
    uploader.says("failed to upload ");
    assert!(!site.here().is_empty());
    site.serve();
    site.all_arrive(SOON + AT_ONCE);
    uploader.says("uploads work again");
    assert_eq!(site.arrived(), names);
    for name in names {
        assert!(fs::read(site.there().join(&name)).unwrap() == content(&name, LARGEST), "{name}");
    }
}
