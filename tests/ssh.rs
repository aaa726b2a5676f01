//! Connections to servers, by the uploader's own SSH.

use super::{
    program::Scratch,
    sshd::{Setup, Sshd, login, make_key, public_half},
};
use sie_dns_sensor::upload::{
    Attendant, Ending, Failure, Pipe, Step, Turn,
    ssh::{Account, Connection, Exec, fingerprint, key::PrivateKey},
};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Longer than a turn even on a busy machine, and shorter than anything that is waited for.
pub const STALL: Duration = Duration::from_secs(3);

/// Looks after a batch: keeps what it is told.
pub struct Watch {
    pub began: Instant,
    /// The clock goes so many times as fast as it should.
    pub speed: u32,
    /// What it says after so many turns.
    pub next: Turn,
    pub next_after: usize,
    /// Nothing may be sent for so many turns.
    pub starved_turns: usize,
    pub turns: usize,
    pub longest: Duration,
    pub last: Instant,
    pub confirmed: Vec<usize>,
    pub failed: Vec<(usize, String)>,
    pub heard: Vec<String>,
    pub sent: usize,
    pub allowance: usize,
}

impl Watch {
    pub fn new() -> Watch {
        Watch {
            began: Instant::now(),
            speed: 1,
            next: Turn::GoOn,
            next_after: 0,
            starved_turns: 0,
            turns: 0,
            longest: Duration::ZERO,
            last: Instant::now(),
            confirmed: Vec::new(),
            failed: Vec::new(),
            heard: Vec::new(),
            sent: 0,
            allowance: usize::MAX,
        }
    }

    pub fn hasty() -> Watch {
        Watch { speed: 20, ..Watch::new() }
    }
}

impl Attendant for Watch {
    fn now(&self) -> Duration {
        self.began.elapsed() * self.speed
    }
    fn turn(&mut self) -> Turn {
        self.turns += 1;
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
        if self.turns > self.next_after { self.next } else { Turn::GoOn }
    }
    fn allowance(&mut self) -> usize {
        if self.turns < self.starved_turns { 0 } else { self.allowance }
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
    fn heard(&mut self, line: &str) {
        self.heard.push(line.to_owned());
    }
}

/// A server, and an account there.
pub struct Site {
    pub server: Sshd,
    pub account: Account,
    pub directory: Scratch,
}

impl Site {
    /// A server with an ed25519 key, which is known, and an account with one of its own.
    pub fn new(options: &str, extra: &str) -> Option<Site> {
        Site::with("-t ed25519", &["-t ed25519"], options, extra)
    }

    /// `options` stand before the key in authorized_keys.
    pub fn with(user_kind: &str, host_kinds: &[&str], options: &str, extra: &str) -> Option<Site> {
        let directory = Scratch::new();
        let key = make_key(&directory, "user", user_kind);
        let named = |(number, kind): (usize, &&str)| make_key(&directory, &format!("host-{number}"), kind);
        let host_keys: Vec<PathBuf> = host_kinds.iter().enumerate().map(named).collect();
        let authorized = format!("{options} {}\n", public_half(&key));
        let known: String = host_keys.iter().map(|key| format!("* {}\n", public_half(key))).collect();
        let known_hosts = directory.file("known_hosts", known);
        let server = Sshd::start(Setup { host_keys, authorized, extra, ..Setup::default() })?;
        Some(Site { server, account: Account { login: login(), key, known_hosts }, directory })
    }

    pub fn open(&self, watch: &mut Watch) -> Result<Connection, Failure> {
        Connection::open(self.server.connect(), "localhost", self.server.port, &self.account, watch)
    }

    #[track_caller]
    pub fn connection(&self) -> Connection {
        self.open(&mut Watch::new()).unwrap_or_else(|failure| panic!("{failure}\n{}", self.server.log()))
    }

    fn know(&self, text: &str) {
        fs::write(&self.account.known_hosts, text).unwrap();
    }

    fn host_key(&self, number: usize) -> PathBuf {
        self.directory.path(&format!("host-{number}"))
    }
}

fn fingerprint_of(key: &Path) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    fingerprint(&STANDARD.decode(public_half(key).split_once(' ').unwrap().1).unwrap())
}

/// Runs a command to its end: both outputs, and how it ended.
fn run(exec: &mut Exec, mut input: &[u8]) -> (Vec<u8>, Vec<u8>, Ending) {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (mut output_ended, mut errors_ended) = (false, false);
    let mut buffer = vec![0; 70_000];
    let mut input_open = true;
    loop {
        let mut idle = true;
        if !output_ended {
            match exec.read(&mut buffer) {
                Ok(0) => output_ended = true,
                Ok(length) => output.extend(&buffer[..length]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        if !errors_ended {
            match exec.read_error(&mut buffer) {
                Ok(0) => errors_ended = true,
                Ok(length) => errors.extend(&buffer[..length]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        if !input.is_empty() {
            match exec.write(input) {
                Ok(length) => {
                    input = &input[length..];
                    idle = false;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        } else if input_open {
            input_open = exec.close_input().is_err();
        }
        if output_ended && errors_ended {
            match exec.ending() {
                Ok(ending) => return (output, errors, ending),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        if idle {
            exec.wait(!input.is_empty(), Duration::from_millis(500)).unwrap();
        }
    }
}

fn run_command(connection: &mut Connection, command: &str, input: &[u8]) -> (Vec<u8>, Vec<u8>, Ending) {
    let mut exec = connection.exec(command, &mut Watch::new()).unwrap();
    let result = run(&mut exec, input);
    assert!(exec.close(&mut Watch::new()));
    result
}

#[test]
fn every_kind_of_key_that_the_old_package_or_this_one_makes_logs_in() {
    for kind in
        ["-t ed25519", "-t rsa -b 2048", "-t rsa -b 1024", "-t rsa -b 1024 -m PEM", "-t rsa -b 3072 -m PEM", "-t ecdsa"]
    {
        let Some(site) = Site::with(kind, &["-t ed25519"], "", "") else { return };
        let key = PrivateKey::read(&site.account.key).unwrap();
        assert_eq!(key.fingerprint(), fingerprint_of(&site.account.key), "{kind}");
        let mut connection = site.connection();
        assert_eq!(run_command(&mut connection, "echo in", b"").0, b"in\n", "{kind}");
        let is_short = connection.remarks().iter().any(|remark| remark.contains("1024 bits"));
        assert_eq!(is_short, kind.contains("1024"), "{kind}: {:?}", connection.remarks());
    }
}

#[test]
fn an_rsa_only_known_hosts_works_with_a_server_that_has_ed25519_too() {
    let Some(site) = Site::with("-t ed25519", &["-t ed25519", "-t ecdsa", "-t rsa -b 2048"], "", "") else { return };
    site.know(&format!(
        "# the old package's form\n* {} SIE submission service public key\n",
        public_half(&site.host_key(2))
    ));
    assert_eq!(site.connection().host_key(), format!("ssh-rsa {}", fingerprint_of(&site.host_key(2))));
    site.know(&format!("* {}\n", public_half(&site.host_key(1))));
    assert_eq!(site.connection().host_key(), format!("ecdsa-sha2-nistp256 {}", fingerprint_of(&site.host_key(1))));
}

#[test]
fn an_unknown_changed_or_revoked_host_key_is_refused_before_the_login() {
    let Some(site) = Site::with("-t ed25519", &["-t ed25519"], "", "") else { return };
    let other = make_key(&site.directory, "other", "-t rsa -b 2048");
    let ours = public_half(&site.host_key(0));
    let shown = fingerprint_of(&site.host_key(0));
    let port = site.server.port;
    let refused = |text: &str, expected: &[&str]| {
        site.know(text);
        let failure = site.open(&mut Watch::new()).err().expect("it is refused");
        assert_eq!(failure.step, Step::HostKey, "{failure}");
        assert!(
            expected.iter().all(|part| failure.reason.contains(part)) && failure.reason.contains(&shown),
            "{failure}"
        );
    };
    refused("", &["has no key for localhost:"]);
    refused(&format!("other.example {ours}\n"), &["has no key for localhost:"]);
    refused(&format!("[localhost]:{} {ours}\n", port.wrapping_add(1)), &["has no key for localhost:"]);
    refused(&format!("localhost {}\n", public_half(&other)), &["another key", &fingerprint_of(&other)]);
    refused(&format!("localhost {ours}\n@revoked * {ours}\n"), &["revoked"]);
    fs::remove_file(&site.account.known_hosts).unwrap();
    let failure = site.open(&mut Watch::new()).err().unwrap();
    assert!(failure.reason.contains("cannot read") && failure.reason.contains(&shown), "{failure}");
    assert!(!site.server.log().contains("Accepted"), "{}", site.server.log());
    site.know(&format!("garbage\n[localhost]:{port} {ours}\n"));
    assert!(site.connection().remarks()[0].contains("known_hosts:1: no key"));
}

#[test]
fn who_is_not_let_in_reads_name_and_fingerprint() {
    let Some(mut site) = Site::new("", "") else { return };
    site.account.key = make_key(&site.directory, "stranger", "-t ed25519");
    let failure = site.open(&mut Watch::new()).err().unwrap();
    assert_eq!(failure.step, Step::Login, "{failure}");
    assert!(failure.reason.contains(&fingerprint_of(&site.account.key)), "{failure}");
    site.account.login = "no-such-user\u{1b}[2J".to_owned();
    let failure = site.open(&mut Watch::new()).err().unwrap();
    assert!(failure.step == Step::Login && failure.reason.contains("no-such-user\\u{1b}"), "{failure}");
}

#[test]
fn a_key_that_is_unfit_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let Some(mut site) = Site::new("", "") else { return };
    let good = site.account.key.clone();
    let mut refused = |key: &Path, expected: &str| {
        site.account.key = key.to_owned();
        let failure = site.open(&mut Watch::new()).err().expect("it is refused");
        assert!(failure.step == Step::Key && failure.reason.contains(expected), "{failure}");
    };
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&good, fs::Permissions::from_mode(mode)).unwrap();
        refused(&good, &format!("chmod 0600 {}", good.display()));
    }
    let directory = Scratch::new();
    let secret = |name: &str, bytes: &[u8]| {
        let path = directory.file(name, bytes);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    fs::set_permissions(&good, fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read(&good).unwrap();
    refused(&secret("cut", &text[..text.len() / 2]), "damaged");
    refused(&secret("empty", b""), "no private key");
    refused(&secret("public", &fs::read(good.with_extension("pub")).unwrap()), "no private key");
    refused(&secret("binary", &[0xff; 1000]), "not text");
    refused(&secret("huge", &[b'a'; 100_000]), "64 KiB");
    refused(&secret("pem", b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"), "damaged");
    refused(&directory.path("absent"), "No such file");
    fs::set_permissions(directory.path(""), fs::Permissions::from_mode(0o700)).unwrap();
    refused(&directory.path(""), "not a regular file");
    for form in ["-t ed25519", "-t rsa -b 2048 -m PEM"] {
        let name = format!("locked{}", form.len());
        let key = make_key(&directory, &name, form);
        let mut command = std::process::Command::new("ssh-keygen");
        command.args(["-q", "-p", "-P", "", "-N", "secret"]).args(if form.contains("PEM") {
            &["-m", "PEM"][..]
        } else {
            &[]
        });
        assert!(command.arg("-f").arg(&key).stdout(std::process::Stdio::null()).status().unwrap().success());
        refused(&key, "encrypted");
    }
    if nix::unistd::geteuid().is_root() {
        let key = secret("theirs", &text);
        nix::unistd::chown(&key, Some(nix::unistd::Uid::from_raw(65534)), None).unwrap();
        refused(&key, "belongs to user 65534");
    }
}

/// A server that does with its first client what `serve` says.
fn impostor(serve: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    port
}

fn open_at(port: u16, watch: &mut Watch) -> Failure {
    let directory = Scratch::new();
    let key = make_key(&directory, "user", "-t ed25519");
    let account = Account { login: "a".to_owned(), key, known_hosts: directory.file("known_hosts", "") };
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    Connection::open(stream, "localhost", port, &account, watch).err().expect("that is no server")
}

#[test]
fn a_server_that_says_nothing_is_left_when_the_time_is_over() {
    let port = impostor(|stream| {
        thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let mut watch = Watch::hasty();
    let failure = open_at(port, &mut watch);
    assert!(failure.step == Step::Handshake && failure.reason.contains("says nothing for 15 s"), "{failure}");
    assert!(watch.longest < STALL, "{:?}", watch.longest);
    // The same after its version, and in the middle of a packet.
    for after in [&b"SSH-2.0-Silent\r\n"[..], b"SSH-2.0-Silent\r\n\0\0\x01\0\x05\x14"] {
        let port = impostor(move |mut stream| {
            stream.write_all(after).unwrap();
            thread::sleep(Duration::from_secs(20));
        });
        let failure = open_at(port, &mut Watch::hasty());
        assert!(failure.step == Step::Handshake && failure.reason.contains("for 15 s"), "{failure}");
    }
}

#[test]
fn garbage_and_endless_text_instead_of_a_version_is_no_ssh() {
    let began = Instant::now();
    let port = impostor(|mut stream| stream.write_all(b"HTTP/1.1 400 Bad\x1b[2J Request\r\n\r\n").unwrap());
    let failure = open_at(port, &mut Watch::new());
    assert!(failure.reason.contains("it says: HTTP/1.1 400 Bad\\u{1b}[2J Request"), "{failure}");
    let port = impostor(drop);
    let failure = open_at(port, &mut Watch::new());
    assert!(failure.reason.contains("closed the connection before it said anything"), "{failure}");
    for line in [&b"a"[..], b"line\r\n", b"SSH-"] {
        let port = impostor(move |mut stream| while stream.write_all(&line.repeat(1000)).is_ok() {});
        let failure = open_at(port, &mut Watch::new());
        assert!(failure.reason.contains("does not begin with SSH"), "{failure}");
        assert!(failure.reason.len() < 1000, "{failure}");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_server_that_floods_the_handshake_is_left() {
    // A packet of no cipher yet: SSH_MSG_IGNORE, and a type that nobody knows, which libssh2 keeps.
    for kind in [2, 192] {
        let port = impostor(move |mut stream| {
            let mut packet = vec![0, 0, 0x7d, 0, 4, kind];
            packet.resize(4 + 0x7d00, 0);
            let _ = stream.write_all(b"SSH-2.0-Flood\r\n");
            while stream.write_all(&packet).is_ok() {}
        });
        let began = Instant::now();
        let failure = open_at(port, &mut Watch::hasty());
        assert_eq!(failure.step, Step::Handshake, "{failure}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

#[test]
fn what_a_server_says_when_it_ends_the_connection_is_the_reason() {
    let port = impostor(|mut stream| {
        let text = b"too many\x1b[2J of you";
        let mut payload = vec![1, 0, 0, 0, 12, 0, 0, 0, text.len() as u8];
        payload.extend(text);
        payload.extend([0; 4]);
        let padding = 16 - (payload.len() + 5) % 8;
        let mut packet = ((payload.len() + padding + 1) as u32).to_be_bytes().to_vec();
        packet.push(padding as u8);
        packet.extend(payload);
        packet.resize(packet.len() + padding, 0);
        stream.write_all(b"SSH-2.0-Rude\r\n").unwrap();
        stream.write_all(&packet).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let failure = open_at(port, &mut Watch::new());
    assert!(failure.reason.contains("too many\\u{1b}[2J of you"), "{failure}");
}

#[test]
fn a_command_gets_its_input_and_gives_both_outputs_and_its_code() {
    let Some(site) = Site::new("", "") else { return };
    let mut connection = site.connection();
    let (output, errors, ending) = run_command(&mut connection, "cat; echo no >&2; exit 7", b"some input");
    assert_eq!((&output[..], &errors[..], ending), (&b"some input"[..], &b"no\n"[..], Ending::Code(7)));
    for _ in 0..20 {
        assert_eq!(run_command(&mut connection, "true", b"").2, Ending::Code(0));
    }
    assert!(connection.is_usable());
}

#[test]
fn outputs_and_input_larger_than_any_window_pass_at_once() {
    let Some(site) = Site::new("", "") else { return };
    let mut connection = site.connection();
    let input: Vec<u8> = (0..6_000_000u32).map(|number| (number % 251) as u8).collect();
    let command = "head -c 5000000 /dev/zero >&2 & cat; wait; head -c 3000000 /dev/zero >&2";
    let (output, errors, ending) = run_command(&mut connection, command, &input);
    assert!(output == input && errors.len() == 8_000_000, "{} {}", output.len(), errors.len());
    assert_eq!(ending, Ending::Code(0));
    let (output, ..) = run_command(&mut connection, "head -c 60000000 /dev/zero", b"");
    assert_eq!(output.len(), 60_000_000);
}

#[test]
fn a_command_that_is_killed_ends_by_a_signal() {
    let Some(site) = Site::new("", "") else { return };
    let mut connection = site.connection();
    assert_eq!(run_command(&mut connection, "kill -KILL $$", b"").2, Ending::Signal("KILL".to_owned()));
}

#[test]
fn a_forced_command_runs_instead() {
    let Some(site) = Site::new("command=\"echo $SSH_ORIGINAL_COMMAND\",restrict", "") else { return };
    assert_eq!(run_command(&mut site.connection(), "rsync --server", b"").0, b"rsync --server\n");
}

#[test]
fn a_command_is_closed_before_its_end_and_takes_the_connection_along_only_if_it_must() {
    let Some(site) = Site::new("", "") else { return };
    let mut connection = site.connection();
    let mut patient = Watch::new();
    let mut exec = connection.exec("cat", &mut patient).unwrap();
    exec.write(b"some input").unwrap();
    assert!(exec.close(&mut patient), "cat ends where its input does");
    drop(exec);
    assert_eq!(run_command(&mut connection, "echo on", b"").0, b"on\n");
    let (mut watch, began) = (Watch::hasty(), Instant::now());
    let mut exec = connection.exec("exec sleep 30", &mut watch).unwrap();
    assert!(!exec.close(&mut watch), "sshd waits for the command");
    drop(exec);
    assert!(!connection.is_usable());
    let mut connection = site.connection();
    drop(connection.exec("exec sleep 30", &mut watch).unwrap());
    assert!(!connection.is_usable(), "nobody closed it");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_server_that_stops_is_not_waited_for_without_an_end() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    let Some(site) = Site::new("", "") else { return };
    let mut connection = site.connection();
    let mut watch = Watch::hasty();
    let processes = site.server.children();
    let mut exec = connection.exec("exec sleep 30", &mut watch).unwrap();
    processes.iter().for_each(|&process| kill(Pid::from_raw(process), Signal::SIGSTOP).unwrap());
    let more = processes
        .iter()
        .flat_map(|process| {
            fs::read_to_string(format!("/proc/{process}/task/{process}/children"))
                .unwrap_or_default()
                .split_whitespace()
                .map(|child| child.parse::<i32>().unwrap())
                .collect::<Vec<_>>()
        })
        .collect::<Vec<_>>();
    more.iter().for_each(|&process| kill(Pid::from_raw(process), Signal::SIGSTOP).unwrap());
    let began = Instant::now();
    assert!(!exec.close(&mut watch));
    drop(exec);
    drop(connection);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    for process in more.iter().chain(&processes) {
        let _ = kill(Pid::from_raw(*process), Signal::SIGKILL);
    }
}

#[test]
fn an_idle_connection_is_kept_alive_and_a_dead_one_is_seen() {
    let Some(site) = Site::new("", "ClientAliveInterval 1\nClientAliveCountMax 2\n") else { return };
    let mut connection = site.connection();
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(500));
        connection.keep_alive(&mut Watch::new()).unwrap();
    }
    assert_eq!(run_command(&mut connection, "echo alive", b"").0, b"alive\n");
    drop(site);
    let failure = connection.keep_alive(&mut Watch::new()).unwrap_err();
    assert!(!connection.is_usable() && !failure.keeps_connection, "{failure}");
    assert!(connection.exec("true", &mut Watch::new()).is_err());
}

#[test]
fn whoever_is_told_to_leave_leaves_at_once() {
    let Some(site) = Site::new("", "") else { return };
    let mut watch = Watch { next: Turn::Leave, ..Watch::new() };
    assert!(site.open(&mut watch).err().unwrap().reason.contains("told to leave"));
}
