//! Uploads over time, to a real rsync behind a real sshd, by the uploader alone or by the sensor.

mod backlog;
mod kill;
mod rate;
mod sensor;

use super::{CAPTURE_USER, Sensor, UPLOAD_USER, World, wait_for};
use crate::{
    program::{Ended, Scratch},
    sshd::{Setup, Sshd, free_port, login, make_key, public_half},
};
use nix::unistd::chown;
use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What an upload of a few files may take where much else runs.
const SOON: Duration = Duration::from_secs(60);

/// A sensor's host, and a server that knows its key.
struct Site {
    world: World,
    port: u16,
    server: Option<Sshd>,
    /// Keys of both.
    keys: Scratch,
}

impl Site {
    /// With a server that runs. None, and says so, where there cannot be one.
    fn new() -> Option<Site> {
        let world = World::new()?;
        world.namespace.link(&["set", "lo", "up"]);
        let keys = Scratch::new();
        make_key(&keys, "host", "-t ed25519");
        make_key(&keys, "user", "-t ed25519");
        let mut site = Site { port: world.namespace.inside(free_port), world, server: None, keys };
        site.give_keys();
        fs::create_dir(site.there()).unwrap();
        for stage in ["new", "waiting", "archive"] {
            let path = site.world.path("spool").join(stage).join("ch202");
            fs::create_dir_all(&path).unwrap();
            for path in [path.parent().unwrap(), &path] {
                own(path, CAPTURE_USER.1, 0o2770);
            }
        }
        site.configure(&[]);
        site.serve();
        site.server.is_some().then_some(site)
    }

    /// Puts the key, and the server's, where the uploader looks for them.
    fn give_keys(&self) {
        let keys = self.world.path("keys");
        fs::create_dir_all(&keys).unwrap();
        fs::copy(self.keys.path("user"), keys.join("upload")).unwrap();
        fs::write(keys.join("known_hosts"), format!("* {}\n", public_half(&self.keys.path("host")))).unwrap();
        for (path, mode) in [(keys.join("upload"), 0o600), (keys.join("known_hosts"), 0o644), (keys, 0o700)] {
            own(&path, UPLOAD_USER.1, mode);
        }
    }

    /// Starts the server.
    fn serve(&mut self) {
        self.server = self.another_server(self.port);
    }

    /// Starts a server at a port.
    fn another_server(&self, port: u16) -> Option<Sshd> {
        let authorized = public_half(&self.keys.path("user")) + "\n";
        // What a shell of root's runs from its home is none of the test's: killed in the middle, it may leave locks there.
        let home = format!("SetEnv HOME={}\n", self.world.directory.display());
        let setup =
            Setup { port, host_keys: vec![self.keys.path("host")], authorized, extra: &home, ..Setup::default() };
        self.world.namespace.inside(|| Sshd::start(setup))
    }

    /// Where files arrive.
    fn there(&self) -> PathBuf {
        self.world.path("there")
    }

    /// Writes the configuration, with these settings over the usual ones.
    fn configure(&self, sets: &[(&str, &str)]) {
        let (server, there) = (format!("127.0.0.1:{}", self.port), self.there());
        let (key, known) = (self.world.path("keys/upload"), self.world.path("keys/known_hosts"));
        let mut all = vec![
            ("submitserver", server.as_str()),
            ("login", "root"),
            ("remote_dir", there.to_str().unwrap()),
            ("uploadkey", key.to_str().unwrap()),
            ("knownhosts", known.to_str().unwrap()),
        ];
        all.extend_from_slice(sets);
        self.world.configure(&all);
        assert_eq!(login(), "root");
    }

    /// The uploader alone, running.
    fn upload(&self, arguments: &[&str]) -> Sensor {
        let config = self.world.path("config");
        Sensor::start(self.world.inside(&[&["upload", "-c", config.to_str().unwrap()], arguments].concat()))
    }

    /// A command of the program, run to its end.
    fn run(&self, arguments: &[&str]) -> Ended {
        let config = self.world.path("config");
        self.world.inside(&[arguments, &["-c", config.to_str().unwrap()]].concat()).output().unwrap().into()
    }

    /// Publishes a file.
    fn put(&self, name: &str, bytes: &[u8]) {
        let new = self.world.path("spool/new/ch202");
        let part = new.join(format!(".{name}.part"));
        fs::write(&part, bytes).unwrap();
        own(&part, CAPTURE_USER.1, 0o660);
        fs::rename(part, new.join(name)).unwrap();
    }

    /// Names of files that are here still.
    fn here(&self) -> BTreeSet<String> {
        // In the order in which they go, so that none is missed on its way.
        ["new", "waiting"].iter().flat_map(|stage| self.world.files(stage)).map(|path| name_of(&path)).collect()
    }

    /// Names of files that have arrived: of all that is not hidden.
    fn arrived(&self) -> BTreeSet<String> {
        visible(&self.there())
    }

    #[track_caller]
    fn all_arrive(&self, limit: Duration) {
        wait_for("the last file to leave", limit, || self.here().is_empty().then_some(()));
    }
}

impl Sensor {
    /// Names of files that were confirmed, in that order.
    fn uploaded(&self) -> Vec<String> {
        let uploaded =
            |line: &String| line.split_once("successfully uploaded ").map(|(_, path)| name_of(path.as_ref()));
        self.lines().iter().filter_map(uploaded).collect()
    }
}

fn own(path: &Path, user: u32, mode: u32) {
    chown(path, Some(user.into()), Some(user.into())).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Names in a directory that are not hidden.
fn visible(directory: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| name_of(&entry.unwrap().path()));
    names.filter(|name| !name.starts_with('.')).collect()
}

/// The name of a file of so many seconds after 1970.
fn name(seconds: u64) -> String {
    let time = jiff::Timestamp::from_second(seconds as i64).unwrap();
    format!("test.{}.{seconds}.000000000.nmsg", time.strftime("%Y%m%d.%H%M"))
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// What a file of this name holds: so many bytes at most, and others than any other file.
fn content(name: &str, most: u64) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let mut state = hasher.finish();
    let size = (state >> 8) % (most + 1);
    let mut bytes = Vec::with_capacity(size as usize + 8);
    while (bytes.len() as u64) < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend(state.to_be_bytes());
    }
    bytes.truncate(size as usize);
    bytes
}
