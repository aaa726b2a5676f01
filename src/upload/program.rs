//! `ssh_program`: another program in the place of the SSH built in.
//!
//! The uploader may not start programs once it is in its sandbox. A process that it starts before does it for it:
//!
//! ```text
//!  uploader (sandboxed)                        launcher                      ssh_program
//!  where to, as whom, which command     →      arguments, start              →
//!                                       ←      its three streams
//!  what goes over them                 ←─────────────────────────────────────→
//!  how did it end?                      →      ended, or killed              ←
//! ```
//!
//! The words of the program are the launcher's from its start; the uploader says only where to connect. So an uploader in
//! the wrong hands can start nothing else, nor give it an option.

use super::{
    Ending,
    process::{self, Holder, Killed, Process},
};
use crate::{daemon::child, sys::passing};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
};
use std::{
    env,
    ffi::OsStr,
    io::{self, ErrorKind},
    net::IpAddr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Where programs are, when the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The launcher starts a program at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// A program whose end is waited for is asked for it so often, and killed after so many times.
const ASK: Duration = Duration::from_millis(20);
const ASK_MAX: u32 = 250;
/// Longest message; paths have 4096 bytes at most.
const MESSAGE_MAX: usize = 1 << 15;

/// Where to connect and what to run there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The account there.
    pub login: String,
    /// The file of the keys that are believed.
    pub known_hosts: PathBuf,
    /// Our key; where there is no such file, the program must know of another.
    pub key: PathBuf,
    /// The address to connect from.
    pub source: Option<IpAddr>,
    /// The command to run there.
    pub command: String,
}

impl Destination {
    /// What stands behind the program's words, as OpenSSH understands it. An error where a part of it could be taken for
    /// something else.
    pub fn arguments(&self) -> Result<Vec<String>, String> {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
        let is_login = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        check("host", &self.host, self.host.bytes().all(is_host))?;
        check("login", &self.login, self.login.bytes().all(is_login))?;
        check("command", &self.command, !self.command.contains(char::is_control))?;
        let quoted =
            |path: &Path| expanded(path).map(|path| if path.contains(' ') { format!("\"{path}\"") } else { path });
        let known_hosts = quoted(&self.known_hosts)?;
        let mut arguments = vec!["-p".to_owned(), self.port.to_string()];
        let mut option = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        option("-o", "BatchMode=yes".to_owned());
        option("-o", "StrictHostKeyChecking=yes".to_owned());
        option("-o", format!("UserKnownHostsFile={known_hosts}"));
        option("-o", "GlobalKnownHostsFile=/dev/null".to_owned());
        if self.key.exists() {
            // -i looks for the file before it takes %% for %.
            option("-o", format!("IdentityFile={}", quoted(&self.key)?));
        }
        if let Some(source) = self.source {
            option("-b", source.to_string());
        }
        option("-l", self.login.clone());
        option(&self.host, self.command.clone());
        Ok(arguments)
    }

    fn encode(&self) -> Vec<u8> {
        let paths = [&self.known_hosts, &self.key].map(|path| path.to_string_lossy().into_owned());
        let [known_hosts, key] = paths;
        let source = self.source.map(|source| source.to_string()).unwrap_or_default();
        let fields = [&self.host, &self.port.to_string(), &self.login, &known_hosts, &key, &source, &self.command];
        fields.map(String::as_str).join("\0").into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Destination> {
        let fields: Vec<&str> = str::from_utf8(bytes).ok()?.split('\0').collect();
        let &[host, port, login, known_hosts, key, source, command] = &fields[..] else { return None };
        let source = if source.is_empty() { None } else { Some(source.parse().ok()?) };
        let (host, port, login) = (host.to_owned(), port.parse().ok()?, login.to_owned());
        Some(Destination {
            host,
            port,
            login,
            known_hosts: known_hosts.into(),
            key: key.into(),
            source,
            command: command.to_owned(),
        })
    }
}

fn check(what: &str, text: &str, is_tame: bool) -> Result<(), String> {
    match is_tame && !text.is_empty() && !text.starts_with('-') {
        true => Ok(()),
        false => Err(format!("the {what} {text:?} cannot be given to ssh_program")),
    }
}

/// A path in which ssh finds nothing to replace.
fn expanded(path: &Path) -> Result<String, String> {
    let text = path.to_str().unwrap_or_default();
    check(
        "path",
        text,
        path.is_absolute() && !text.contains(['"', '\\', '$', '\'']) && !text.contains(char::is_control),
    )?;
    Ok(text.replace('%', "%%"))
}

/// The program that `word` names: a path, or a name to be found where programs are.
pub fn find(word: &str) -> io::Result<PathBuf> {
    let is_program =
        |path: &PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    let path = if word.contains('/') { "/".into() } else { env::var_os("PATH").unwrap_or(DEFAULT_PATH.into()) };
    // Joined with a whole path, a directory gives that path.
    let mut found = env::split_paths(&path).filter(|directory| directory.is_absolute()).map(|found| found.join(word));
    found.find(is_program).ok_or_else(|| {
        let place = if word.contains('/') { String::new() } else { format!(" in {}", path.to_string_lossy()) };
        io::Error::new(ErrorKind::NotFound, format!("there is no program {word}{place}"))
    })
}

/// The uploader's end. The launcher leaves, and ends what it runs, when this is gone.
#[derive(Debug)]
pub struct Launcher {
    socket: OwnedFd,
    /// Of the program that was asked for last.
    number: u32,
}

const RUN: u8 = b'R';
const END: u8 = b'E';
const KILL: u8 = b'K';
const REFUSED: u8 = b'!';
const CODE: u8 = b'C';
const SIGNAL: u8 = b'S';
const UNKNOWN: u8 = b'?';

impl Launcher {
    /// Starts it, for a program with these first arguments.
    pub fn start(words: &[String]) -> io::Result<Launcher> {
        Launcher::start_by(&child::program()?, words)
    }

    /// The same, by another executable of this program.
    pub fn start_by(program: &Path, words: &[String]) -> io::Result<Launcher> {
        let Some((first, rest)) = words.split_first() else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "ssh_program names no program"));
        };
        let (ours, theirs) = pair()?;
        let mut command = Command::new(program);
        command.arg0("sie-dns-sensor: launch").args(["launch", "--"]).arg(find(first)?).args(rest);
        // What a terminal sends is for the uploader.
        command
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Nobody waits for it: it leaves with its socket, which is closed when the uploader ends.
        command.spawn()?;
        Ok(Launcher { socket: ours, number: 0 })
    }

    /// Runs the program; what ran before is ended.
    pub fn open(&mut self, destination: &Destination) -> io::Result<Process<'_>> {
        destination.arguments().map_err(|reason| io::Error::new(ErrorKind::InvalidInput, reason))?;
        self.number = self.number.wrapping_add(1);
        self.ask(RUN, &destination.encode())?;
        let waits = PATIENCE.as_millis() / super::TURN.as_millis();
        for _ in 0..waits {
            if !is_readable(self.socket.as_fd(), super::TURN)? {
                continue;
            }
            if let Some((kind, text, descriptors)) = self.hear()? {
                return match (kind, <[OwnedFd; 3]>::try_from(descriptors)) {
                    (RUN, Ok(streams)) => Ok(Process::over(streams, Box::new(Run { launcher: self, asked: false }))),
                    _ => Err(io::Error::other(text)),
                };
            }
        }
        Err(io::Error::new(ErrorKind::TimedOut, "the process that starts ssh_program does not answer"))
    }

    fn ask(&self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        passing::send(&self.socket, &message(kind, self.number, bytes), &[])
    }

    /// What it says of the program that was asked for last; what it says of others is too late.
    fn hear(&self) -> io::Result<Option<(u8, String, Vec<OwnedFd>)>> {
        let mut buffer = [0; MESSAGE_MAX];
        let (len, descriptors) = passing::receive(&self.socket, &mut buffer)?;
        if len == 0 {
            return Err(io::Error::new(ErrorKind::BrokenPipe, "the process that starts ssh_program is gone"));
        }
        let said = parse(&buffer[..len]).filter(|said| said.1 == self.number);
        Ok(said.map(|(kind, _, text)| (kind, String::from_utf8_lossy(text).into_owned(), descriptors)))
    }
}

/// A program that the launcher runs for us.
struct Run<'l> {
    launcher: &'l mut Launcher,
    /// Whether it was asked how it ended.
    asked: bool,
}

impl Holder for Run<'_> {
    fn ending(&mut self) -> io::Result<Ending> {
        if !self.asked {
            self.launcher.ask(END, &[])?;
            self.asked = true;
        }
        match self.launcher.hear()? {
            None => Err(ErrorKind::WouldBlock.into()),
            Some((CODE, code, _)) => Ok(code.parse().map_or(Ending::Unknown, Ending::Code)),
            Some((SIGNAL, name, _)) => Ok(Ending::Signal(name)),
            Some(_) => Ok(Ending::Unknown),
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // If it cannot be told, it is gone, and the program with it.
        let _ = self.launcher.ask(KILL, &[]);
    }
}

/// Messages, not a stream: each comes whole.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

fn message(kind: u8, number: u32, bytes: &[u8]) -> Vec<u8> {
    [&[kind][..], &number.to_be_bytes(), bytes].concat()
}

fn parse(message: &[u8]) -> Option<(u8, u32, &[u8])> {
    let (kind, rest) = message.split_first()?;
    let (number, bytes) = rest.split_first_chunk()?;
    Some((*kind, u32::from_be_bytes(*number), bytes))
}

fn is_readable(socket: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let mut polled = [PollFd::new(socket, PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The launcher, whose socket is descriptor 0; until that is closed.
pub fn serve(words: &[String]) -> io::Result<()> {
    serve_on(io::stdin().as_fd().try_clone_to_owned()?, words)
}

/// What it runs.
struct Running {
    program: Killed,
    number: u32,
    /// How often the uploader has been kept waiting for its end, once it is.
    asked: Option<u32>,
}

fn serve_on(socket: OwnedFd, words: &[String]) -> io::Result<()> {
    let mut running: Option<Running> = None;
    loop {
        let is_asked = running.as_ref().is_some_and(|running| running.asked.is_some());
        if is_readable(socket.as_fd(), if is_asked { ASK } else { PATIENCE })? {
            let mut buffer = [0; MESSAGE_MAX];
            let (len, _) = passing::receive(&socket, &mut buffer)?;
            match parse(&buffer[..len]) {
                None => return Ok(()), // with what it runs
                Some((RUN, number, bytes)) => {
                    drop(running.take());
                    running = run(&socket, words, number, bytes)?;
                }
                Some((END, number, _)) => match running.as_mut().filter(|running| running.number == number) {
                    Some(running) => running.asked = Some(0),
                    None => passing::send(&socket, &message(UNKNOWN, number, &[]), &[])?,
                },
                Some(_) => running = None,
            }
        }
        if let Some(Running { program, number, asked: Some(asked) }) = &mut running {
            *asked += 1;
            let ended = program.ended()?;
            let (kind, text) = match ended {
                None if *asked < ASK_MAX => continue,
                Some(Ending::Code(code)) => (CODE, code.to_string()),
                Some(Ending::Signal(name)) => (SIGNAL, name),
                None | Some(Ending::Unknown) => (UNKNOWN, String::new()),
            };
            passing::send(&socket, &message(kind, *number, text.as_bytes()), &[])?;
            running = None;
        }
    }
}

/// Starts the program and gives its streams to the uploader, or says why not.
fn run(socket: &OwnedFd, words: &[String], number: u32, bytes: &[u8]) -> io::Result<Option<Running>> {
    match start(words, bytes) {
        Ok((program, streams)) => {
            passing::send(socket, &message(RUN, number, &[]), &streams)?;
            Ok(Some(Running { program, number, asked: None }))
        }
        Err(reason) => {
            passing::send(socket, &message(REFUSED, number, reason.as_bytes()), &[])?;
            Ok(None)
        }
    }
}

fn start(words: &[String], bytes: &[u8]) -> Result<(Killed, [OwnedFd; 3]), String> {
    let destination = Destination::decode(bytes).ok_or("not a destination")?;
    let arguments = destination.arguments()?;
    let (program, first) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(first).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if env::var_os("PATH").is_none() {
        command.env("PATH", OsStr::new(DEFAULT_PATH)); // it may start others
    }
    let mut child = command.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
    let ends = process::ends(&mut child);
    let program = Killed(child);
    let ends = ends.map_err(|error| format!("cannot use the program's streams: {error}"))?;
    Ok((program, ends))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spool::part::tests::Scratch, upload::Pipe};
    use std::{fs, thread};

    fn destination() -> Destination {
        Destination {
            host: "2001:db8::1".into(),
            port: 49222,
            login: "abc".into(),
            known_hosts: "/var/spool/sie/keys/known_hosts".into(),
            key: "/no/such/key".into(),
            source: None,
            command: "rsync --server .".into(),
        }
    }

    #[test]
    fn arguments_are_those_of_openssh() {
        let scratch = Scratch::new();
        let key = scratch.0.join("a%b");
        fs::write(&key, "").unwrap();
        let common = "-p 49222 -o BatchMode=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=";
        let (known, global) = ("/var/spool/sie/keys/known_hosts", "-o GlobalKnownHostsFile=/dev/null");
        let without_key = format!("{common}{known} {global} -l abc 2001:db8::1 rsync --server .");
        assert_eq!(destination().arguments().unwrap().join(" "), without_key);
        let all = Destination {
            known_hosts: "/a b/k".into(),
            key: key.clone(),
            source: Some("192.0.2.1".parse().unwrap()),
            ..destination()
        };
        let key = key.to_str().unwrap().replace('%', "%%");
        let line = format!(
            "{common}\"/a b/k\" {global} -o IdentityFile={key} -b 192.0.2.1 -l abc 2001:db8::1 rsync --server ."
        );
        assert_eq!(all.arguments().unwrap().join(" "), line);
        assert_eq!(all.arguments().unwrap().last().unwrap(), "rsync --server .");
        assert_eq!(Destination::decode(&all.encode()), Some(all));
    }

    #[test]
    fn nothing_is_taken_for_an_option() {
        let refused = [
            Destination { host: "-oProxyCommand=id".into(), ..destination() },
            Destination { host: "a@b".into(), ..destination() },
            Destination { host: String::new(), ..destination() },
            Destination { login: "-l".into(), ..destination() },
            Destination { login: "a b".into(), ..destination() },
            Destination { command: "-v".into(), ..destination() },
            Destination { command: "a\0b".into(), ..destination() },
            Destination { known_hosts: "/a\" b".into(), ..destination() },
            Destination { known_hosts: "/${HOME}/k".into(), ..destination() },
            Destination { known_hosts: "none".into(), ..destination() },
        ];
        for destination in refused {
            assert!(destination.arguments().is_err(), "{destination:?}");
        }
    }

    /// A launcher in a thread, for a shell script that gets the arguments.
    fn launcher(script: &str) -> (Launcher, thread::JoinHandle<io::Result<()>>) {
        let (ours, theirs) = pair().unwrap();
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        (Launcher { socket: ours, number: 0 }, thread::spawn(move || serve_on(theirs, &words)))
    }

    fn read_all(process: &mut Process<'_>) -> String {
        let (mut said, mut buffer) = (Vec::new(), [0; 100]);
        loop {
            match process.read(&mut buffer) {
                Ok(0) => return String::from_utf8(said).unwrap(),
                Ok(len) => said.extend(&buffer[..len]),
                Err(_) => process.wait(false, Duration::from_secs(5)).unwrap(),
            }
        }
    }

    fn ending(process: &mut Process<'_>) -> Ending {
        loop {
            match process.ending() {
                Ok(ending) => return ending,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            thread::sleep(ASK);
        }
    }

    #[test]
    fn programs_are_run_one_after_the_other_and_tell_how_they_ended() {
        let (mut launcher, thread) = launcher("cat; echo $2; exit 7");
        for _ in 0..3 {
            let mut process = launcher.open(&destination()).unwrap();
            process.write(b"hello ").unwrap();
            process.close_input().unwrap();
            assert_eq!(read_all(&mut process), "hello -o\n");
            assert_eq!(ending(&mut process), Ending::Code(7));
        }
        drop(launcher);
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn a_program_ends_when_it_is_let_go_of_and_when_the_uploader_is_gone() {
        let (mut launcher, thread) = launcher("echo $$; exec sleep 1000");
        let mut pid = || {
            let mut process = launcher.open(&destination()).unwrap();
            let mut buffer = [0; 20];
            let len = loop {
                match process.read(&mut buffer) {
                    Ok(len) => break len,
                    Err(_) => process.wait(false, Duration::from_secs(5)).unwrap(),
                }
            };
            String::from_utf8_lossy(&buffer[..len]).trim().parse::<i32>().unwrap()
        };
        let (first, second) = (pid(), pid());
        let is_gone = |pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(Errno::ESRCH);
        assert!(is_gone(first));
        drop(launcher);
        thread.join().unwrap().unwrap();
        assert!(is_gone(second));
    }

    #[test]
    fn a_program_that_cannot_be_started_is_an_error_that_says_so() {
        let (ours, theirs) = pair().unwrap();
        thread::spawn(move || serve_on(theirs, &["/no/such/ssh".to_owned()]));
        let mut launcher = Launcher { socket: ours, number: 0 };
        let error = launcher.open(&destination()).err().unwrap();
        assert!(error.to_string().starts_with("cannot start /no/such/ssh: No such file"), "{error}");
        assert!(find("no-such-program").is_err() && find("/no/such").is_err());
        assert_eq!(find("/bin/sh").unwrap(), Path::new("/bin/sh"));
        assert!(find("sh").unwrap().ends_with("sh"));
    }
}
