//! Processes killed at random moments, under load.

use super::{Account, Load, Role, SOON, Sensor, World, is_alive, payloads, wait_for};
use crate::program;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime},
};

/// How many processes are killed unless the variable SIE_KILLS says otherwise; with all that belongs to it, that takes
/// about 15 s.
const KILLS: u64 = 15;
/// Packets a second, unless SIE_RATE says otherwise: what a build without optimisation can do beside other tests.
const RATE: u64 = 4000;
/// What a killed capture process may have written without having counted it: ledgers are published ten times a second.
const UNCOUNTED: Duration = Duration::from_millis(500);
/// What may be lost to each killed capture process beside the time without one: what is in the ring, and what it has not
/// counted yet.
const UNREAD: Duration = Duration::from_millis(700);

pub(super) fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// xorshift64.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub(super) fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(self.below(limit))
    }
}

/// Everything that is published, checked as soon as it is seen.
#[derive(Default)]
struct Published {
    /// Names without directory, with the transactions in each.
    files: BTreeMap<PathBuf, u64>,
}

impl Published {
    #[track_caller]
    fn look(&mut self, world: &World) {
        for stage in ["new", "waiting"] {
            for path in world.files(stage) {
                let name = PathBuf::from(path.file_name().unwrap());
                if self.files.contains_key(&name) {
                    continue;
                }
                // It may move on while it is read; then it is found where it waits.
                if let Some(payloads) = payloads(&path) {
                    self.files.insert(name, payloads);
                }
            }
        }
    }

    fn transactions(&self) -> u64 {
        self.files.values().sum()
    }
}

/// What was killed, how often.
#[derive(Debug, Default)]
struct Kills {
    capture: u64,
    upload: u64,
    successor: u64,
    supervisor: u64,
    all: u64,
    terminated: u64,
}

/// One life of a supervisor, and what was lost in it.
struct Life {
    sensor: Sensor,
    /// Transactions published before.
    before: u64,
    /// Packets sent before it was ready.
    sent: u64,
    /// Whether the life before had published everything by then.
    is_clean: bool,
    /// How long the last one of a role was not started again, where it is known.
    waits: BTreeMap<Role, Option<Duration>>,
    captures_killed: u64,
}

struct Trial<'w> {
    world: &'w World,
    load: &'w Load,
    random: Random,
    published: Published,
    kills: Kills,
    life: Life,
    lost: u64,
    missing: u64,
    gap_millis: u64,
    rate: u64,
}

#[test]
fn whatever_is_killed_no_file_is_invalid_and_nothing_published_is_lost() {
    let Some(world) = World::new() else { return };
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let (kills, rate, seed) = (variable("SIE_KILLS", KILLS), variable("SIE_RATE", RATE), variable("SIE_SEED", now | 1));
    println!("SIE_KILLS={kills} SIE_RATE={rate} SIE_SEED={seed}");
    world.configure(&[("archive", "yes")]);
    let load = world.send(rate);
    let life = Life::new(&world, &load, 0, true);
    let random = Random(seed | 1);
    let (published, sum) = (Published::default(), Kills::default());
    let (lost, missing, gap_millis) = (0, 0, 0);
    let mut trial =
        Trial { world: &world, load: &load, random, published, kills: sum, life, lost, missing, gap_millis, rate };
    for _ in 0..kills {
        let pause = trial.random.millis(1000);
        thread::sleep(pause);
        trial.kill_something();
        trial.published.look(&world);
        trial.life.sensor.has_no_bug();
    }
    thread::sleep(Duration::from_millis(500));
    trial.terminate();
    trial.conclude();
}

impl Life {
    fn new(world: &World, load: &Load, before: u64, is_clean: bool) -> Life {
        let sensor = world.start();
        Life { sensor, before, sent: load.sent(), is_clean, waits: BTreeMap::new(), captures_killed: 0 }
    }
}

impl Trial<'_> {
    fn kill_something(&mut self) {
        let kind = self.random.below(100);
        let role = if self.random.below(2) == 0 { Role::Capture } else { Role::Upload };
        // A process that dies again and again comes back later and later.
        let is_tired = self.life.waits.get(&role).is_some_and(|wait| wait.is_none_or(|wait| wait.as_secs() > 1));
        match kind {
            0..55 if !is_tired => self.kill_child(role),
            55..70 => self.kill_in_a_handover(),
            70..80 => self.kill_all(),
            _ => self.kill_supervisor(),
        }
        if self.random.below(8) == 0 {
            self.terminate();
            let is_clean = self.world.parts().is_empty();
            self.life = Life::new(self.world, self.load, self.published.transactions(), is_clean);
        }
    }

    /// One of the children, which is back in the time that the log says, while the other runs on.
    fn kill_child(&mut self, role: Role) {
        let sensor = &self.life.sensor;
        let (child, others) = (sensor.child(role), sensor.children());
        let skip = sensor.lines().len();
        let killed = Instant::now();
        kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        let line = sensor.says_after(skip, &format!("{child}, ended: killed by signal 9"));
        let wait = backoff(&line);
        let expected = match self.life.waits.insert(role, Some(wait)) {
            None => 0,
            Some(None) => wait.as_secs(),
            Some(Some(before)) => (before.as_secs() * 2).max(1),
        };
        assert_eq!(wait.as_secs(), expected, "{line}");
        let limit = wait + Duration::from_secs(1);
        wait_for("a new child", limit.saturating_sub(killed.elapsed()), || {
            sensor.children().iter().find(|(pid, other)| **other == role && **pid != child).map(|_| ())
        });
        let others: Vec<_> = others.into_keys().filter(|pid| *pid != child).collect();
        assert!(others.iter().all(|pid| sensor.children().contains_key(pid)));
        match role {
            Role::Capture => {
                self.kills.capture += 1;
                self.life.captures_killed += 1;
                sensor.says_after(skip, "captures from a0 again");
            }
            Role::Upload => self.kills.upload += 1,
            Role::Views => {}
        }
    }

    /// While a capture process hands over to another one: whichever of them.
    fn kill_in_a_handover(&mut self) {
        let kbytes = 32768 + self.random.below(1000);
        self.world.configure(&[("capture_buffer_kbytes", &kbytes.to_string()), ("archive", "yes")]);
        let sensor = &self.life.sensor;
        let skip = sensor.lines().len();
        let old = sensor.child(Role::Capture);
        sensor.signal(Signal::SIGHUP);
        sensor.says_after(skip, "started the capture process");
        let pause = self.random.millis(300);
        thread::sleep(pause);
        let captures = || sensor.children().into_iter().filter(|(_, role)| *role == Role::Capture).map(|(pid, _)| pid);
        let all: Vec<i32> = captures().collect();
        let victim = all[self.random.below(all.len() as u64) as usize];
        kill(Pid::from_raw(victim), Signal::SIGKILL).unwrap();
        let line = sensor.says_after(skip, &format!("the capture process, {victim}, "));
        if line.contains("ended") {
            // A successor has a wait of its own, unless it had just taken over.
            self.life.waits.insert(Role::Capture, None);
        }
        // In the end there is one, by the new settings.
        wait_for("one capture process", backoff(&line) + SOON, || {
            let all: Vec<i32> = captures().collect();
            (all.len() == 1 && all[0] != old && all[0] != victim).then_some(())
        });
        self.kills.successor += 1;
        self.life.captures_killed += 1;
    }

    /// The supervisor: its children write what they have and leave. The next one starts when they are gone, or at once.
    fn kill_supervisor(&mut self) {
        let children = self.life.sensor.children();
        let killed = Instant::now();
        self.life.sensor.signal(Signal::SIGKILL);
        self.life.sensor.process.wait().unwrap();
        self.kills.supervisor += 1;
        let is_patient = self.random.below(2) == 0;
        let left = |limit: Duration| {
            wait_for("children of a killed supervisor leave", limit, || {
                children.keys().all(|pid| !is_alive(*pid)).then_some(())
            })
        };
        if is_patient {
            left(super::LEAVING);
            self.published.look(self.world);
        }
        let before = self.published.transactions();
        self.life = Life::new(self.world, self.load, before, is_patient);
        left(super::LEAVING.saturating_sub(killed.elapsed()));
    }

    /// All at once, as when the power fails.
    fn kill_all(&mut self) {
        let sensor = &mut self.life.sensor;
        for pid in sensor.children().into_keys().chain([sensor.pid()]) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        sensor.process.wait().unwrap();
        self.kills.all += 1;
        self.life = Life::new(self.world, self.load, self.published.transactions(), false);
    }

    /// Ends the supervisor's life in order; what was counted in it is compared with what is in its files.
    fn terminate(&mut self) {
        let sent = self.load.sent() - self.life.sent;
        let account = self.life.sensor.leaves(Signal::SIGTERM);
        self.published.look(self.world);
        self.kills.terminated += 1;
        let files = self.published.transactions() - self.life.before;
        let (written, lost) = (account.count("written"), account.count("written.lost transactions"));
        let words = format!("{files} in files; {account:?}");
        // What was written is there. What is there beside it was appended to a part file, which the next process
        // published, before the killed one had counted it, or even the packets it came from. What was killed within
        // milliseconds of the end may have left a part file, which the next life publishes.
        assert!(files >= written || !self.world.parts().is_empty(), "{words}");
        if self.life.is_clean {
            let uncounted = self.rate * UNCOUNTED.as_millis() as u64 / 1000 * self.life.captures_killed;
            assert!(files <= written + lost + uncounted, "{words}");
            if self.life.captures_killed == 0 {
                assert_eq!((files, lost, account.count("gaps.count")), (written, 0, 0), "{words}");
            }
        }
        // Packets are missing for the time without a capture process, which is counted.
        let (read, dropped) = (account.count("packets"), account.count("kernel.dropped"));
        let gaps = Duration::from_millis(account.count("gaps.milliseconds"));
        let missing = (gaps + UNREAD * (1 + self.life.captures_killed as u32)).as_millis() as u64 * self.rate / 1000;
        assert!(sent <= read + dropped + missing, "{sent} sent; {words}");
        self.missing += sent.saturating_sub(read);
        self.count(&account);
    }

    fn count(&mut self, account: &Account) {
        self.lost += account.count("written.lost transactions");
        self.gap_millis += account.count("gaps.milliseconds");
    }

    fn conclude(mut self) {
        let sent = self.load.sent();
        self.published.look(self.world);
        assert!(self.world.files("new").is_empty() && self.world.parts().is_empty(), "{:?}", self.world.parts());
        let waiting = self.world.files("waiting");
        let names = |files: &BTreeSet<PathBuf>| -> Vec<PathBuf> {
            files.iter().map(|path| PathBuf::from(path.file_name().unwrap())).collect()
        };
        let published: Vec<PathBuf> = self.published.files.keys().cloned().collect();
        assert_eq!((names(&waiting), names(&self.world.files("archive"))), (published.clone(), published.clone()));
        // The program agrees, and no file has changed since it was first seen.
        let stats = program::run(["read".into(), "--stats".into()].into_iter().chain(waiting)).with_code(0);
        let transactions = self.published.transactions();
        assert!(stats.text().contains(&transactions.to_string()), "{transactions}: {}", stats.text());
        println!("{:?}", self.kills);
        println!(
            "{sent} packets sent; {} files, {transactions} transactions; counted as lost {}; where a supervisor lived to tell: {} packets not read, without capture {} ms",
            published.len(),
            self.lost,
            self.missing,
            self.gap_millis
        );
    }
}

/// How long until a new process starts.
fn backoff(line: &str) -> Duration {
    let (_, when) = line.split_once("a new one starts ").unwrap_or((line, ""));
    let seconds = when.strip_prefix("in ").and_then(|rest| rest.strip_suffix(" s"));
    Duration::from_secs(seconds.map_or(0, |seconds| seconds.parse().unwrap()))
}
