//! Sessions with a server that follows a script.

use super::*;
use crate::{
    spool::part::tests::Scratch,
    upload::{Attendant, Ending, Failure, Outgoing, Pipe, Step, Turn},
};
use std::{
    cell::Cell,
    collections::VecDeque,
    fs::{self, File},
    io,
    rc::Rc,
    time::{Duration, UNIX_EPOCH},
};

/// What the server does next.
#[derive(Clone)]
enum Act {
    Says(Vec<u8>),
    SaysOnError(Vec<u8>),
    /// Waits for so many more bytes of the client's stream.
    Hears(usize),
    /// Waits for this at the end of it.
    HearsLast(Vec<u8>),
    Waits(Duration),
    /// Gives signs of life and nothing else, for ever.
    KeepsAlive,
    /// Does something to the client's files.
    Does(Rc<dyn Fn()>),
    /// Takes nothing more.
    TakesNothing,
}

use Act::{Does, Hears, HearsLast, KeepsAlive, Says, SaysOnError, TakesNothing, Waits};

const NEVER: Duration = Duration::from_secs(1 << 30);

struct Server {
    acts: VecDeque<Act>,
    now: Rc<Cell<Duration>>,
    /// What is read at once, and written at once.
    portion: usize,
    /// After so many bytes its output ends.
    cut: usize,
    said: usize,
    on_error: VecDeque<u8>,
    heard: Vec<u8>,
    /// Bytes of the stream that the script has waited for.
    awaited: usize,
    takes_nothing: bool,
    until: Option<Duration>,
    ending: Ending,
}

impl Server {
    fn new(acts: Vec<Act>) -> Server {
        Server {
            acts: acts.into(),
            now: Rc::default(),
            portion: usize::MAX,
            cut: usize::MAX,
            said: 0,
            on_error: VecDeque::new(),
            heard: Vec::new(),
            awaited: 0,
            takes_nothing: false,
            until: None,
            ending: Ending::Code(0),
        }
    }

    /// What the client has said in frames of its stream, and its messages, signs of life among them.
    fn stream(&self) -> (Vec<u8>, Vec<(u8, Vec<u8>)>) {
        let (mut stream, mut messages) = (Vec::new(), Vec::new());
        let mut rest = self.heard.get(4..).unwrap_or_default();
        rest = rest.strip_prefix(OFFER).unwrap_or(rest);
        while let Some(header) = wire::take(&mut rest) {
            let (tag, len) = wire::frame(header);
            let Some((payload, behind)) = rest.split_at_checked(len) else { break };
            rest = behind;
            match tag {
                0 if len > 0 => stream.extend(payload),
                _ => messages.push((tag, payload.to_vec())),
            }
        }
        (stream, messages)
    }

    /// Goes through the script up to something to say.
    fn act(&mut self) {
        loop {
            match self.acts.front_mut() {
                Some(Says(bytes)) if bytes.is_empty() => {}
                Some(SaysOnError(bytes)) => self.on_error.extend(std::mem::take(bytes)),
                Some(Hears(count)) => {
                    let awaited = self.awaited + *count;
                    if self.stream().0.len() < awaited {
                        return;
                    }
                    self.awaited = awaited;
                }
                Some(HearsLast(end)) => {
                    let end = std::mem::take(end);
                    let stream = self.stream().0;
                    if !stream.ends_with(&end) {
                        self.acts[0] = HearsLast(end);
                        return;
                    }
                    self.awaited = stream.len();
                }
                Some(Waits(time)) => {
                    let until = *self.until.get_or_insert(self.now.get() + *time);
                    if self.now.get() < until {
                        return;
                    }
                    self.until = None;
                }
                Some(Does(what)) => what.clone()(),
                Some(TakesNothing) => self.takes_nothing = true,
                Some(Says(_) | KeepsAlive) | None => return,
            }
            self.acts.pop_front();
        }
    }
}

fn would_block<T>() -> io::Result<T> {
    Err(io::ErrorKind::WouldBlock.into())
}

impl Pipe for Server {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.act();
        let room = buffer.len().min(self.portion).min(self.cut - self.said);
        if room == 0 {
            return Ok(0);
        }
        let len = match self.acts.front_mut() {
            None => return Ok(0),
            Some(Says(bytes)) => {
                let len = room.min(bytes.len());
                buffer[..len].copy_from_slice(&bytes.drain(..len).collect::<Vec<_>>());
                len
            }
            Some(KeepsAlive) => {
                let until = *self.until.get_or_insert(self.now.get() + Duration::from_secs(5));
                if self.now.get() < until {
                    return would_block();
                }
                self.until = None;
                buffer[..4].copy_from_slice(&[0, 0, 0, 7]);
                4
            }
            Some(_) => return would_block(),
        };
        self.said += len;
        Ok(len)
    }

    fn read_error(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.act();
        if self.on_error.is_empty() {
            let is_over = self.acts.is_empty() || self.said >= self.cut;
            return if is_over { Ok(0) } else { would_block() };
        }
        let len = self.on_error.len().min(buffer.len()).min(self.portion);
        buffer.iter_mut().zip(self.on_error.drain(..len)).for_each(|(to, from)| *to = from);
        Ok(len)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.act();
        if self.acts.is_empty() || self.said >= self.cut || self.takes_nothing {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(self.portion);
        self.heard.extend(&bytes[..len]);
        Ok(len)
    }

    fn close_input(&mut self) -> io::Result<()> {
        // A server that waits for more leaves.
        if let Some(Hears(_) | HearsLast(_)) = self.acts.front() {
            self.acts.clear();
        }
        Ok(())
    }

    fn ending(&mut self) -> io::Result<Ending> {
        Ok(self.ending.clone())
    }

    fn wait(&mut self, _: bool, limit: Duration) -> io::Result<()> {
        self.now.set(self.now.get() + limit);
        Ok(())
    }
}

/// Remembers everything.
struct Witness {
    now: Rc<Cell<Duration>>,
    confirmed: Vec<usize>,
    failed: Vec<(usize, String)>,
    heard: Vec<String>,
    turn: Turn,
    /// Bytes a second; none: no limit.
    rate: Option<usize>,
    sent: usize,
}

impl Attendant for Witness {
    fn now(&self) -> Duration {
        self.now.get()
    }
    fn turn(&mut self) -> Turn {
        self.turn
    }
    fn allowance(&mut self) -> usize {
        self.rate.map_or(usize::MAX, |rate| {
            let all = self.now.get().as_millis() as usize * rate / 1000;
            all.saturating_sub(self.sent)
        })
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

impl Witness {
    fn new() -> Witness {
        Witness {
            now: Rc::default(),
            confirmed: vec![],
            failed: vec![],
            heard: vec![],
            turn: Turn::GoOn,
            rate: None,
            sent: 0,
        }
    }

    /// A session; each file must have had one end, unless it was cut short.
    fn see(&mut self, server: &mut Server, files: &mut [Outgoing]) -> Result<(), Failure> {
        server.now = self.now.clone();
        let done = send(server, files, self);
        let mut ends: Vec<usize> = self.confirmed.iter().copied().chain(self.failed.iter().map(|end| end.0)).collect();
        ends.sort_unstable();
        if self.turn != Turn::CutShort {
            assert_eq!(ends, (0..files.len()).collect::<Vec<_>>());
        }
        done
    }
}

/// What the client says to a server that names its sums.
const OFFER: &[u8] = b"\x0axxh128 md5";
/// What rsync 3.5.0 says to one that lets flags be varints.
const NAMES: &[u8] = b"\x81\xfe\x23xxh128 xxh3 xxh64 md5 md4 sha1 none";

const NAME: &str = "host.example.20250101.0000.1735689600.000000000.nmsg";
const MODIFIED: u64 = 1_795_238_079;

fn place(scratch: &Scratch, name: &str, bytes: &[u8]) -> Outgoing {
    use std::os::unix::fs::PermissionsExt;
    let path = scratch.0.join(name);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(MODIFIED)).unwrap();
    Outgoing::open(&scratch.0, name).unwrap()
}

fn sum(bytes: &[u8]) -> [u8; 16] {
    use md5::{Digest, Md5};
    Md5::digest(bytes).into()
}

fn frame(tag: u8, bytes: &[u8]) -> Vec<u8> {
    [&wire::frame_header(tag, bytes.len()), bytes].concat()
}

/// Of rsync 3.0, of 3.1, or, with protocol 32, of one that names its sums.
fn greeting(protocol: u8) -> Act {
    let compatibility = match protocol {
        30 => &[0x0a],
        31 => &[0x1a],
        _ => NAMES,
    };
    Says([&[protocol, 0, 0, 0][..], compatibility, &[0xc0, 0x28, 1, 0x6b]].concat())
}

fn message(tag: u8, text: &str) -> Act {
    Says(frame(tag, text.as_bytes()))
}

fn request(index: &[u8]) -> Vec<u8> {
    [index, &[0, 0xa0], &[0; 16]].concat()
}

/// What the client says of one file with at most one run.
fn answer(index: &[u8], bytes: &[u8]) -> Vec<u8> {
    answer_with(sum(bytes), index, bytes)
}

fn answer_with(sum: [u8; 16], index: &[u8], bytes: &[u8]) -> Vec<u8> {
    let run = match bytes.len() as u32 {
        0 => vec![],
        len => [&len.to_le_bytes()[..], bytes].concat(),
    };
    [&request(index)[..], &run, &[0; 4], &sum].concat()
}

fn success(index: u32) -> Act {
    Says(frame(100, &index.to_le_bytes()))
}

const LIST_LEN: usize = 66;

/// The list of the transcript.
fn list() -> Vec<u8> {
    [&[0x18, 0x34][..], NAME.as_bytes(), &[0, 0x2c, 1, 0x6b, 0xbf, 0x28, 1, 0xa4, 0x81, 0, 0, 0]].concat()
}

/// The list and the file of the transcript, as a server of this protocol is to hear them.
fn list_and_file(protocol: u8) -> (Vec<u8>, Vec<u8>) {
    match protocol {
        32 => {
            let sum = twox_hash::XxHash3_128::oneshot(&data()).to_le_bytes();
            ([list(), vec![0]].concat(), answer_with(sum, &[1], &data()))
        }
        _ => (list(), answer(&[1], &data())),
    }
}

fn data() -> Vec<u8> {
    (0..300_u32).map(|at| (at * 7) as u8).collect()
}

/// What the client says and the server answers with one file of 300 bytes.
fn transcript(protocol: u8) -> Vec<Act> {
    let (list, file) = list_and_file(protocol);
    let mut acts = vec![greeting(protocol), Hears(list.len()), Says(frame(0, &request(&[1]))), Says(frame(0, &[0]))];
    acts.extend([Hears(file.len() + 1), success(0)]);
    match protocol {
        30 => acts.extend([Says(frame(0, &[0, 0])), Hears(2), Says(frame(0, &[0]))]),
        _ => acts.extend([Says(frame(0, &[0, 0, 0])), Hears(3), Says(frame(0, &[0]))]),
    }
    acts
}

fn spoken(acts: &[Act]) -> usize {
    acts.iter().map(|act| if let Says(bytes) = act { bytes.len() } else { 0 }).sum()
}

#[test]
fn the_clients_stream_is_that_of_rsync_however_the_server_is_split() {
    let scratch = Scratch::new();
    for (protocol, rounds) in [(30, 3), (31, 4), (32, 4)] {
        for portion in 1..100 {
            let mut files = [place(&scratch, NAME, &data())];
            let mut server = Server { portion, ..Server::new(transcript(protocol)) };
            let mut witness = Witness::new();
            assert_eq!(witness.see(&mut server, &mut files), Ok(()));
            assert_eq!(witness.confirmed, [0]);
            assert_eq!(witness.sent, 300);
            assert_eq!(server.heard[..4], [31, 0, 0, 0]);
            assert_eq!(server.heard[4..].starts_with(OFFER), protocol == 32);
            let (list, file) = list_and_file(protocol);
            let expected = [list, file, vec![0; rounds]].concat();
            assert_eq!(server.stream(), (expected, vec![]));
        }
    }
}

#[test]
fn a_server_that_dies_at_any_byte_has_what_it_confirmed_and_nothing_else() {
    let scratch = Scratch::new();
    for protocol in [30, 31, 32] {
        let acts = transcript(protocol);
        let (greeting_ends, success_ends) = (spoken(&acts[..1]), spoken(&acts[..6]));
        for cut in 0..=spoken(&acts) {
            let mut files = [place(&scratch, NAME, &data())];
            let mut server =
                Server { cut, portion: 13, ending: Ending::Signal("KILL".into()), ..Server::new(acts.clone()) };
            let mut witness = Witness::new();
            let done = witness.see(&mut server, &mut files);
            assert_eq!(witness.confirmed.len(), usize::from(cut >= success_ends), "{cut}");
            assert_eq!(done.is_ok(), cut == spoken(&acts), "{cut}");
            if let Err(failure) = done {
                // Text that stops in the first bytes is not rsync's.
                let expected = if (1..4).contains(&cut) { "not rsync" } else { "killed by signal KILL" };
                assert!(failure.reason.contains(expected), "{cut}: {failure}");
                assert!(failure.keeps_connection);
                assert_eq!(failure.step, if cut < greeting_ends { Step::Command } else { Step::Transfer });
            }
        }
    }
}

#[test]
fn the_sum_that_was_wrong_is_sent_again_and_sums_of_the_far_end_are_skipped() {
    let scratch = Scratch::new();
    let mut files = [place(&scratch, NAME, &data())];
    let len = answer(&[1], &data()).len();
    let mut again = vec![0xfe, 0, 0, 0, 0xa0];
    again.extend(b"\x02\0\0\0\xbc\x02\0\0\x02\0\0\0\x0d\0\0\0");
    again.extend([9; 12]);
    let mut acts = transcript(31);
    acts.splice(4..6, [Hears(len + 1), Says(frame(0, &again)), Hears(len + 2), Says(frame(0, &[0])), success(0)]);
    acts[9] = Says(frame(0, &[0, 0]));
    let mut server = Server::new(acts);
    let mut witness = Witness::new();
    assert_eq!(witness.see(&mut server, &mut files), Ok(()));
    let answers = [answer(&[1], &data()), vec![0], answer(&[0xfe, 0, 0], &data()), vec![0; 3]].concat();
    assert_eq!(server.stream().0[LIST_LEN..], answers);
    assert_eq!(witness.confirmed, [0]);
}

#[test]
fn what_is_said_to_a_server_of_3_5_is_what_a_client_of_3_5_says() {
    let scratch = Scratch::new();
    let mut files = [place(&scratch, "a.nmsg", b"hello\n"), place(&scratch, "ab.nmsg", b"")];
    let acts = vec![
        greeting(32),
        Hears(34),
        Says(frame(0, &request(&[1]))),
        Says(frame(0, &[&request(&[1])[..], &[0]].concat())),
        Hears(89),
        success(0),
        success(1),
        Says(frame(0, &[0; 3])),
        Hears(3),
        Says(frame(0, &[0])),
    ];
    let mut server = Server::new(acts);
    let mut witness = Witness::new();
    assert_eq!(witness.see(&mut server, &mut files), Ok(()));
    assert_eq!(witness.confirmed, [0, 1]);
    // Of `rsync --protocol=31 --timeout=10 --remove-source-files a.nmsg ab.nmsg HOST:up/ch202/`. The client named more sums.
    let list = b"\x18\x06a.nmsg\0\x06\0\x6b\xbf\x28\x01\xa4\x81\0\0\x80\xba\x01\x06b.nmsg\0\0\0\0\0";
    let first = b"\x01\0\xa0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x06\0\0\0hello\n\0\0\0\0\
        \x9c\xe4\xc8\xf1\x35\xb4\x10\x5a\x6d\xf5\x69\xe0\xc7\x86\xba\x6b";
    let second = b"\x01\0\xa0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
        \x7f\x49\x8d\x46\x24\xc3\x01\x60\xd8\x98\x47\x01\xd3\x06\xaa\x99";
    assert_eq!(server.stream(), ([&list[..], first, second, &[0; 4]].concat(), vec![]));
}

/// A session in which the server, after the list, does this.
fn after_the_list(acts: Vec<Act>) -> Vec<Act> {
    [vec![greeting(31), Hears(LIST_LEN)], acts].concat()
}

/// How a session with one file of 300 bytes ends.
fn outcome(acts: Vec<Act>, ending: Ending) -> (Result<(), Failure>, Witness, Server) {
    let scratch = Scratch::new();
    let mut files = [place(&scratch, NAME, &data())];
    let mut server = Server { ending, ..Server::new(acts) };
    let mut witness = Witness::new();
    let done = witness.see(&mut server, &mut files);
    (done, witness, server)
}

fn says_in_both_ways(text: &str) -> [Act; 2] {
    [message(1, text), SaysOnError(text.as_bytes().to_vec())]
}

#[test]
fn a_server_that_gives_up_is_acknowledged_and_its_words_are_the_reason() {
    for (text, code) in [
        ("rsync: mkdir \"/x/up/ch202\" failed: No such file or directory (2)\n", 11),
        ("rsync: cannot stat destination \"/x/up/ch202/\": Not a directory (20)\n", 3),
        ("rsync: change_dir#1 \"/x/up\" failed: Permission denied (13)\n", 3),
        ("rsync: write failed on \"/x/up/.host.nmsg.AbCdEf\": No space left on device (28)\n", 11),
        ("rsync: received SIGTERM\n", 20),
    ] {
        for said in says_in_both_ways(text) {
            let summary = SaysOnError(b"rsync error: error in file IO (code 11) at receiver.c(393)\n".to_vec());
            let exit = Says(frame(86, &[code, 0, 0, 0]));
            // It leaves once we have agreed.
            let acts = after_the_list(vec![said, summary, exit, Waits(Duration::from_secs(1))]);
            let (done, witness, server) = outcome(acts, Ending::Code(code.into()));
            let failure = done.unwrap_err();
            assert_eq!((&failure.reason[..], failure.keeps_connection), (text.trim(), true));
            assert_eq!(witness.failed, [(0, text.trim().to_owned())]);
            assert_eq!(server.stream().1, [(86, vec![])]);
        }
    }
}

#[test]
fn what_a_server_confirms_or_wants_of_no_file_is_said_as_it_was() {
    for index in [7, -1_i32] {
        let (done, witness, _) = outcome(after_the_list(vec![success(index.cast_unsigned())]), Ending::Code(0));
        let reason = format!("the server confirmed file {index}, which is not in the list");
        assert_eq!((done.unwrap_err().reason, witness.confirmed.len()), (reason, 0));
    }
    let (done, ..) = outcome(after_the_list(vec![Says(frame(0, &request(&[7])))]), Ending::Code(0));
    assert_eq!(done.unwrap_err().reason, "the server asked for file 6, which is not in the list");
}

#[test]
fn exit_code_0_is_no_success() {
    let len = answer(&[1], &data()).len();
    let refused = "rsync: mkstemp \"/x/up/.host.nmsg.AbCdEf\" failed: Permission denied (13)\n";
    for (said, code, reason) in [
        (message(1, refused), 0, refused.trim()),
        (SaysOnError(refused.into()), 23, refused.trim()),
        (SaysOnError(vec![]), 0, "not confirmed by the server"),
        (SaysOnError(vec![]), 23, "the remote command ended with exit code 23: not all files transferred"),
    ] {
        let mut acts = transcript(31);
        acts.splice(4..6, [Hears(len + 1), said]);
        let (done, witness, _) = outcome(acts, Ending::Code(code));
        assert_eq!(done, Ok(()));
        assert_eq!(witness.failed, [(0, reason.to_owned())]);
    }
}

#[test]
fn what_is_said_before_the_greeting_is_reported() {
    for (acts, code, reason) in [
        (
            vec![Says(b"rsync-server-wrapper: no access\n".to_vec())],
            1,
            "what answers is not rsync; it says: rsync-server-wrapper: no access",
        ),
        (
            vec![Says(b"Welcome!\n".to_vec()), greeting(31), KeepsAlive],
            12,
            "what answers is not rsync; it says: Welcome!",
        ),
        (vec![SaysOnError(b"execve: No such file or directory\n".to_vec())], 1, "execve: No such file or directory"),
        (vec![SaysOnError(b"sh: 1: rsync: not found".to_vec())], 127, "sh: 1: rsync: not found"),
        (vec![Waits(Duration::from_secs(1))], 1, "the remote command ended with exit code 1: usage, or refused"),
        (vec![Says(vec![b'x'; 100_000]), KeepsAlive], 0, "what answers is not rsync; it says: xxxx"),
        (vec![Says(vec![29, 0, 0, 0]), KeepsAlive], 0, "the server's rsync has protocol 29"),
        (vec![Says(vec![31, 0, 0, 0, 1]), KeepsAlive], 0, "the server chose features that were not offered: 0x1"),
        (vec![Says(vec![32, 0, 0, 0, 0x81, 0xff]), KeepsAlive], 0, "features that were not offered: 0x1ff"),
        (
            vec![Says(b"\x20\0\0\0\x81\xfe\x08md4 none".to_vec()), KeepsAlive],
            0,
            "the server has neither of the checksums xxh128 and md5; it has: md4 none",
        ),
        (vec![Says(b"\x20\0\0\0\x81\xfe\0".to_vec()), KeepsAlive], 0, "neither of the checksums"),
        (vec![Says(b"\x20\0\0\0\x81\xfe\x81\0".to_vec()), KeepsAlive], 0, "its checksums in 256 bytes"),
    ] {
        let (done, witness, _) = outcome(acts, Ending::Code(code));
        let failure = done.unwrap_err();
        assert!(failure.reason.contains(reason), "{failure}");
        assert_eq!(failure.step, Step::Command);
        assert_eq!(witness.failed, [(0, failure.reason)]);
        assert!(witness.now.get() < Duration::from_secs(20));
    }
}

#[test]
fn nothing_is_waited_for_without_end() {
    let len = answer(&[1], &data()).len();
    let asks = || Says(frame(0, &request(&[1])));
    for (acts, seconds, reason) in [
        (vec![Waits(NEVER)], 15, "no greeting of an rsync within 15 s"),
        (vec![Says(vec![31, 0]), Waits(NEVER)], 15, "no greeting of an rsync within 15 s"),
        (vec![Says([&[32, 0, 0, 0], NAMES].concat()), Waits(NEVER)], 15, "no greeting of an rsync within 15 s"),
        (after_the_list(vec![Waits(NEVER)]), 10, "nothing from or to the server for 10 s"),
        (after_the_list(vec![asks(), Hears(len), Waits(NEVER)]), 10, "nothing from or to the server for 10 s"),
        (after_the_list(vec![KeepsAlive]), 120, "no progress for 120 s"),
        (after_the_list(vec![asks(), Hears(len), KeepsAlive]), 120, "no progress for 120 s"),
        ([&transcript(31)[..], &[KeepsAlive]].concat(), 10, "the remote command does not end"),
    ] {
        let (done, witness, _) = outcome(acts, Ending::Code(0));
        let failure = done.unwrap_err();
        assert_eq!((&failure.reason[..], failure.keeps_connection), (reason, false));
        let took = witness.now.get().as_secs();
        assert!((seconds..seconds + 6).contains(&took), "{reason}: {took} s");
    }
}

#[test]
fn a_server_that_waits_for_a_sign_of_life_gets_one_every_five_seconds() {
    let mut acts = transcript(30);
    acts.insert(2, Waits(Duration::from_secs(9)));
    let (done, _, server) = outcome(acts, Ending::Code(0));
    assert_eq!(done, Ok(()));
    assert_eq!(server.stream().1, [(0, vec![])]);
}

#[test]
fn time_that_the_rate_limit_takes_is_not_the_servers_fault() {
    let scratch = Scratch::new();
    let bytes = [7; 200_000];
    let mut files = [place(&scratch, "a.nmsg", &bytes)];
    let acts = vec![
        greeting(30),
        Hears(1 + 1 + 6 + 3 + 4 + 4 + 1),
        Says(frame(0, &[&request(&[1])[..], &[0]].concat())),
        HearsLast([&sum(&bytes)[..], &[0]].concat()),
        success(0),
        Says(frame(0, &[0, 0])),
        Hears(2),
        Says(frame(0, &[0])),
    ];
    let mut witness = Witness { rate: Some(1000), ..Witness::new() };
    let mut server = Server::new(acts);
    assert_eq!(witness.see(&mut server, &mut files), Ok(()));
    assert_eq!(witness.confirmed, [0]);
    assert!((195..210).contains(&witness.now.get().as_secs()), "{:?}", witness.now);
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_never_finished() {
    let scratch = Scratch::new();
    let path = scratch.0.join("a.nmsg");
    let append = |path: &std::path::Path| fs::write(path, vec![1; 1_000_001]).unwrap();
    let shorten = |path: &std::path::Path| File::options().write(true).open(path).unwrap().set_len(500_000).unwrap();
    let touch = |path: &std::path::Path| {
        File::options().write(true).open(path).unwrap().set_modified(UNIX_EPOCH).unwrap();
    };
    let changes: [fn(&std::path::Path); 3] = [append, shorten, touch];
    for change in changes {
        let mut files = [place(&scratch, "a.nmsg", &vec![1; 1_000_000]), place(&scratch, "b.nmsg", b"b")];
        let path = path.clone();
        let mut server = Server::new(vec![
            greeting(31),
            Hears(30),
            Says(frame(0, &request(&[1]))),
            Hears(100_000),
            Does(Rc::new(move || change(&path))),
            Hears(10_000_000),
        ]);
        server.portion = 50_000;
        let mut witness = Witness::new();
        let failure = witness.see(&mut server, &mut files).unwrap_err();
        assert!(failure.reason.starts_with("a.nmsg: ") && failure.keeps_connection, "{failure}");
        assert!(witness.confirmed.is_empty());
        let (stream, _) = server.stream();
        let whole = sum(&vec![1; 1_000_000]);
        assert!(!stream.windows(16).any(|bytes| bytes == whole));
        assert!(stream.len() < 1_000_200);
    }
}

#[test]
fn files_that_are_not_to_be_begun_are_named_to_the_server_and_the_others_go_on() {
    let scratch = Scratch::new();
    let names = ["a.nmsg", "b.nmsg", "c.nmsg", "d.nmsg"];
    let mut files = names.map(|name| place(&scratch, name, name.as_bytes()));
    fs::remove_file(scratch.0.join(names[0])).unwrap();
    fs::write(scratch.0.join(names[2]), "changed").unwrap();
    let requests = [request(&[1]), request(&[1]), request(&[1]), request(&[1]), vec![0]].concat();
    let acts = vec![
        greeting(31),
        Hears(20),
        Says(frame(0, &requests)),
        Hears(120),
        success(1),
        success(3),
        Says(frame(0, &[0, 0, 0])),
        Hears(3),
        Says(frame(0, &[0])),
    ];
    let mut witness = Witness::new();
    let mut server = Server::new(acts.clone());
    assert_eq!(witness.see(&mut server, &mut files), Ok(()));
    assert_eq!(witness.confirmed, [1, 3]);
    assert_eq!(witness.failed, [(0, "not there any more".into()), (2, "changed since it was listed".into())]);
    assert_eq!(server.stream().1, [(102, vec![0, 0, 0, 0]), (102, vec![2, 0, 0, 0])]);
    // What was sent has the indexes of the files that were sent.
    let answers = [answer(&[2], b"b.nmsg"), answer(&[2], b"d.nmsg"), vec![0; 4]].concat();
    assert!(server.stream().0.ends_with(&answers));

    let mut files = names.map(|name| place(&scratch, name, name.as_bytes()));
    let mut witness = Witness { turn: Turn::CutShort, ..Witness::new() };
    let mut acts = acts;
    acts.splice(3..6, [Waits(Duration::from_secs(1))]);
    let mut server = Server::new(acts);
    assert_eq!(witness.see(&mut server, &mut files), Ok(()));
    assert_eq!((witness.failed, witness.sent), (vec![], 0));
    assert_eq!(server.stream().1.len(), 4);
}

#[test]
fn a_file_is_not_confirmed_by_a_server_that_has_not_got_it() {
    let asks = || Says(frame(0, &request(&[1])));
    for acts in [
        vec![greeting(31), success(1)],
        after_the_list(vec![success(1)]),
        after_the_list(vec![Says(frame(100, &[0xff; 4]))]),
        after_the_list(vec![Says([frame(0, &request(&[1])), frame(100, &[0; 4])].concat())]),
        after_the_list(vec![asks(), asks()]),
        after_the_list(vec![Says(frame(0, &request(&[2])))]),
        after_the_list(vec![Says(frame(0, &[0, 0])), asks()]),
        after_the_list(vec![Says(frame(0, &[0, 0, 0, 0, 0])), Says(frame(0, &[0]))]),
        after_the_list(vec![Says(frame(9, &[0; 4]))]),
    ] {
        let acts = [acts, vec![KeepsAlive]].concat();
        let (done, witness, _) = outcome(acts, Ending::Code(0));
        let failure = done.unwrap_err();
        assert!(failure.reason.starts_with("the server "), "{failure}");
        assert!(witness.confirmed.is_empty());
    }
}

#[test]
fn what_the_server_has_already_is_confirmed_without_being_sent() {
    let acts = after_the_list(vec![
        success(0),
        Says(frame(0, &[0])),
        Hears(1),
        Says(frame(0, &[0, 0, 0])),
        Hears(3),
        Says(frame(0, &[0])),
    ]);
    let (done, witness, server) = outcome(acts, Ending::Code(0));
    assert_eq!((done, witness.confirmed, witness.sent), (Ok(()), vec![0], 0));
    assert_eq!(server.stream().0.len(), LIST_LEN + 4);
}

#[test]
fn a_server_that_takes_nothing_more_is_still_listened_to() {
    let text = "rsync: connection unexpectedly closed\n";
    let acts = after_the_list(vec![
        TakesNothing,
        Says(frame(0, &request(&[1]))),
        Waits(Duration::from_secs(2)),
        SaysOnError(text.into()),
    ]);
    let (done, witness, _) = outcome(acts, Ending::Code(12));
    assert_eq!(done.unwrap_err().reason, text.trim());
    assert_eq!(witness.failed, [(0, text.trim().to_owned())]);
}

#[test]
fn one_that_is_to_leave_leaves() {
    let scratch = Scratch::new();
    let mut files = [place(&scratch, NAME, &data())];
    let mut witness = Witness { turn: Turn::Leave, ..Witness::new() };
    let failure = witness.see(&mut Server::new(transcript(31)), &mut files).unwrap_err();
    assert!(!failure.keeps_connection && witness.now.get().is_zero());
}

#[test]
fn files_out_of_order_are_not_sent() {
    let scratch = Scratch::new();
    let mut files = [place(&scratch, "b", b""), place(&scratch, "a", b"")];
    let mut server = Server::new(transcript(31));
    assert!(Witness::new().see(&mut server, &mut files).is_err());
    assert!(server.heard.is_empty());
}

#[test]
fn the_command_is_that_of_rsync_and_holds_nothing_that_a_shell_sees() {
    let line = "rsync --server -e.LsfxCIvu --timeout=10 --remove-source-files . up/ch202/";
    assert_eq!(command("up/ch202/").unwrap(), line);
    assert_eq!(command("up/ch202").unwrap(), line);
    assert!(command("/srv/a_b-c.d").unwrap().ends_with(" . /srv/a_b-c.d/"));
    for directory in ["", "-up", "a b", "a\"", "a'", "a;b", "$x", "~", "a*", "a\n", "ü", "a\\b", "`a`", "(a)", "a|b"] {
        assert!(command(directory).is_err(), "{directory}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_a_server_says_little_is_held_and_no_file_is_confirmed(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        tag in 0..=255_u8,
        portion in 1..50_usize,
    ) {
        let acts = after_the_list(vec![Says(frame(tag, &bytes)), Says(bytes), Waits(Duration::from_secs(1))]);
        let scratch = Scratch::new();
        let mut files = [place(&scratch, NAME, &data())];
        let mut server = Server { portion, ..Server::new(acts) };
        let mut witness = Witness::new();
        let done = witness.see(&mut server, &mut files);
        proptest::prop_assert!(done.is_err() || witness.confirmed.is_empty());
    }
}

#[test]
fn frames_of_any_announced_length_take_no_memory_before_they_come() {
    for header in [[0xff, 0xff, 0xff, 0x07], [0xff, 0xff, 0xff, 0x08], [0xff, 0xff, 0xff, 0x6b]] {
        let mut sender = sender::Sender::new(0);
        let mut events = Vec::new();
        sender.receive(&[31, 0, 0, 0, 0, 0, 0, 0, 0], &mut events).unwrap();
        let first = sender.receive(&header, &mut events);
        // Indexes of files that there are not, sums, names: refused, or not kept.
        let rest = first.and_then(|()| sender.receive(&[1, 0, 0x10, 0x7f, 0xff], &mut events));
        assert!(rest.is_err() || events.len() == 1);
    }
}
