//! What the children may still do, tried from outside on processes that gave up what they give up.

use crate::{
    inject::{
        Argument::{self, Bytes, Name, Number},
        inject, status,
    },
    locate::Watch,
    name_server::{NameServer, free_port},
    sensor::{Directory, Running},
};
use caps::{CapSet, Capability, CapsHashSet};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        socket::{setsockopt, sockopt},
        wait::waitpid,
    },
    unistd::{ForkResult, Gid, Pid, Uid, fork},
};
use sie_dns_sensor::{
    config::SubmitServer,
    daemon::{
        directories::{make_spool, remake_spool},
        privileges::{bound, drop_to},
        sandbox::{Role, enter},
        users::User,
    },
    spool::sort::{Rules, Sorter},
    time::Timestamp,
    upload::{
        Backlog, Lock, Network, Outgoing, State,
        keys::{KeyType, make},
        state::Writer,
    },
};
use std::{
    fs::{self, File, Permissions},
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::{
        fd::AsRawFd,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown, symlink},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// Numbers that no system gives to its users; so none has to be made.
const SENSOR: u32 = 3_059_901;
const UPLOAD: u32 = 3_059_902;

fn sensor() -> User {
    let gid = Gid::from_raw(SENSOR);
    User { name: SENSOR.to_string(), uid: Uid::from_raw(SENSOR), gid, groups: vec![gid] }
}

fn upload() -> User {
    let gid = Gid::from_raw(UPLOAD);
    User { name: UPLOAD.to_string(), uid: Uid::from_raw(UPLOAD), gid, groups: vec![Gid::from_raw(SENSOR), gid] }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A process with one thread that did something and now waits.
struct Child {
    pid: i32,
    /// Its end of file is the child's end.
    _channel: UnixStream,
    said: String,
}

impl Child {
    /// Does `work` in a new process; the string is what it says when it is done.
    #[allow(unsafe_code)]
    fn start(work: impl FnOnce() -> Result<String, String>) -> Child {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        // SAFETY: the C library lets the child of a process with threads allocate, and it takes no other lock of theirs.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => {
                drop(theirs);
                let mut said = String::new();
                BufReader::new(&ours).read_line(&mut said).unwrap();
                let child = Child { pid: child.as_raw(), _channel: ours, said: said.trim_end().to_string() };
                assert!(!child.said.starts_with("error"), "{}", child.said);
                child
            }
            ForkResult::Child => {
                drop(ours);
                let said = work().unwrap_or_else(|error| format!("error: {error}"));
                let _ = writeln!(theirs, "{said}");
                let _ = theirs.read(&mut [0]);
                std::process::exit(0)
            }
        }
    }

    #[track_caller]
    fn refused(&self, call: i64, arguments: &[Argument], with: Errno) {
        assert_eq!(inject(self.pid, call, arguments), Err(with));
    }

    #[track_caller]
    fn may(&self, call: i64, arguments: &[Argument]) -> i64 {
        inject(self.pid, call, arguments).unwrap()
    }

    fn opens(&self, path: &Path, flags: i32) -> Result<i64, Errno> {
        let name = path.to_str().unwrap();
        let arguments = [Number(libc::AT_FDCWD.into()), Name(name), Number(flags.into()), Number(0o660)];
        inject(self.pid, libc::SYS_openat, &arguments)
    }

    #[track_caller]
    fn has_nothing_left(&self, uid: u32, groups: &str) {
        let is = |name: &str| status(self.pid, name);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!((set, is(set).as_str()), (set, "0000000000000000"));
        }
        assert_eq!((is("NoNewPrivs").as_str(), is("Seccomp").as_str()), ("1", "2"));
        assert_eq!(is("Uid"), [uid; 4].map(|uid| uid.to_string()).join(" "));
        assert_eq!(is("Gid"), [uid; 4].map(|uid| uid.to_string()).join(" "));
        assert_eq!(is("Groups"), groups);
    }

    #[track_caller]
    fn can_open_no_socket_of(&self, families: &[i32]) {
        for family in families {
            for of in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW] {
                let arguments = [Number((*family).into()), Number(of.into()), Number(0)];
                self.refused(libc::SYS_socket, &arguments, Errno::EPERM);
            }
        }
    }

    #[track_caller]
    fn can_neither_serve_nor_execute_nor_return(&self) {
        self.can_open_no_socket_of(&[libc::AF_UNIX, libc::AF_PACKET, libc::AF_NETLINK, libc::AF_VSOCK]);
        let pair = [Number(libc::AF_UNIX.into()), Number(libc::SOCK_STREAM.into()), Number(0), Bytes(&[0; 8])];
        self.refused(libc::SYS_socketpair, &pair, Errno::EPERM);
        for call in [libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4] {
            self.refused(call, &[Number(0), Number(0), Number(0)], Errno::EPERM);
        }
        self.refused(libc::SYS_execve, &[Name("/bin/true"), Number(0), Number(0)], Errno::EPERM);
        self.refused(libc::SYS_fork, &[], Errno::EPERM);
        self.refused(libc::SYS_clone, &[Number(libc::SIGCHLD.into())], Errno::EPERM);
        self.refused(libc::SYS_clone3, &[Number(0), Number(0)], Errno::ENOSYS);
        for call in [libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setresuid, libc::SYS_setgroups] {
            self.refused(call, &[Number(0), Number(0), Number(0)], Errno::EPERM);
        }
        self.refused(libc::SYS_ptrace, &[Number(16), Number(1)], Errno::EPERM);
        self.refused(libc::SYS_kill, &[Number(1), Number(0)], Errno::EPERM);
        self.refused(libc::SYS_tgkill, &[Number(1), Number(1), Number(0)], Errno::EPERM);
        let executable = (libc::PROT_READ | libc::PROT_EXEC).into();
        let private = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).into();
        let map = [Number(0), Number(4096), Number(executable), Number(private), Number(-1), Number(0)];
        self.refused(libc::SYS_mmap, &map, Errno::EPERM);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.pid);
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
}

/// A spool with a key, where every user gets to, unlike the build's own directory.
struct Spool(PathBuf);

impl Spool {
    fn new() -> Spool {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sie-sandbox-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        let spool = Spool(path);
        spool.give("", SENSOR, 0o2770);
        for stage in ["new", "waiting", "archive"] {
            for name in [stage.to_string(), format!("{stage}/ch202")] {
                fs::create_dir(spool.path(&name)).unwrap();
                spool.give(&name, SENSOR, 0o2770);
            }
        }
        fs::create_dir(spool.path("keys")).unwrap();
        fs::write(spool.path("keys/upload"), "a key").unwrap();
        spool.give("keys", UPLOAD, 0o755);
        spool.give("keys/upload", UPLOAD, 0o600);
        fs::write(spool.path("keys/readable"), "all may, by the file's mode").unwrap();
        fs::create_dir(spool.path("new/open")).unwrap();
        fs::set_permissions(spool.path("new/open"), Permissions::from_mode(0o777)).unwrap();
        spool
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn stages(&self) -> [PathBuf; 3] {
        ["new", "waiting", "archive"].map(|stage| self.path(stage).join("ch202"))
    }

    fn give(&self, name: &str, uid: u32, mode: u32) {
        chown(self.path(name), Some(uid), Some(uid)).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const CREATE: i32 = libc::O_RDWR | libc::O_CREAT;

/// Does in the sandbox what the capture child does.
fn capture(output: &Path) -> Result<String, String> {
    let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let capture = pcap::Capture::from_device("lo").and_then(|lo| lo.promisc(true).timeout(100).open());
    let mut capture = capture.map_err(|error| error.to_string())?;
    let device = capture.as_raw_fd();
    bound().map_err(|error| error.to_string())?;
    drop_to(&sensor()).map_err(|error| error.to_string())?;
    // With so many others that they do not fit into one filter.
    let devices: Vec<i32> = (10_000..10_100).chain([device]).collect();
    let entered =
        enter(&Role::Capture { output: Some(output), devices: &devices }).map_err(|error| error.to_string())?;
    capture.stats().map_err(|error| format!("statistics: {error}"))?;
    capture.filter("udp port 53", true).map_err(|error| format!("filter: {error}"))?;
    let thread = std::thread::Builder::new().name("writer".to_string()).spawn({
        let output = output.to_path_buf();
        move || {
            let mut file = File::create(output.join(".part"))?;
            file.try_lock()?;
            file.write_all(&vec![7; 1 << 20])?;
            file.set_permissions(Permissions::from_mode(0o660))?;
            file.sync_all()?;
            fs::rename(output.join(".part"), output.join("published"))?;
            File::open(&output)?.sync_all()?;
            fs::read_dir(&output)?.count();
            fs::remove_file(output.join("published"))
        }
    });
    let written = thread.map_err(said("thread"))?.join().map_err(|_| "panic")?;
    written.map_err(said("writing"))?;
    std::thread::sleep(std::time::Duration::from_millis(1));
    // The device stays open, as in the child.
    std::mem::forget(capture);
    Ok(format!("{device} {}", entered.enforced.join(", ")))
}

#[test]
fn the_capture_child_can_write_its_directory_and_do_nothing_else() {
    if !is_root() {
        return;
    }
    let spool = Spool::new();
    let child = Child::start(|| capture(&spool.path("new/ch202")));
    let (device, enforced) = child.said.split_once(' ').unwrap();
    child.has_nothing_left(SENSOR, &SENSOR.to_string());
    child.can_open_no_socket_of(&[libc::AF_INET, libc::AF_INET6]);
    child.can_neither_serve_nor_execute_nor_return();

    assert!(child.opens(&spool.path("new/ch202/file"), CREATE).is_ok());
    assert_eq!(child.opens(&spool.path("keys/upload"), libc::O_RDONLY), Err(Errno::EACCES));
    if enforced.contains("Landlock") {
        // These the modes would allow.
        assert_eq!(child.opens(&spool.path("keys/readable"), libc::O_RDONLY), Err(Errno::EACCES));
        assert_eq!(child.opens(&spool.path("new/open/file"), CREATE), Err(Errno::EACCES));
        assert_eq!(child.opens(&spool.path("waiting/ch202/file"), CREATE), Err(Errno::EACCES));
        assert_eq!(child.opens(Path::new("/etc/passwd"), libc::O_RDONLY), Err(Errno::EACCES));
    } else {
        eprintln!("skipped in part: this kernel has no Landlock");
    }

    let device = device.parse().unwrap();
    let frame = [0; 60];
    for call in [libc::SYS_write, libc::SYS_sendto] {
        child.refused(call, &[Number(device), Bytes(&frame), Number(60)], Errno::EPERM);
    }
    child.refused(libc::SYS_fcntl, &[Number(device), Number(libc::F_DUPFD_CLOEXEC.into())], Errno::EPERM);
    child.refused(libc::SYS_dup2, &[Number(device), Number(100)], Errno::EPERM);
    child.refused(libc::SYS_close, &[Number(device)], Errno::EPERM);
    child.may(libc::SYS_fcntl, &[Number(device), Number(libc::F_GETFL.into())]);
}

#[test]
fn the_upload_child_moves_files_and_only_reads_its_key() {
    if !is_root() {
        return;
    }
    let spool = Spool::new();
    let stages = spool.stages();
    fs::write(stages[0].join("file"), "").unwrap();
    // Owned by the one, writable for the other's group: protected_hardlinks allows the link only so.
    spool.give("new/ch202/file", SENSOR, 0o660);
    let target = spool.path("target");
    fs::create_dir(&target).unwrap();
    spool.give("target", UPLOAD, 0o700);
    let child = Child::start(|| {
        let keys = [spool.path("keys"), spool.path("absent")];
        let enforced = begin_upload(&Role::Upload { stages: &stages, keys: &keys, target: Some(&target) })?;
        fs::hard_link(stages[0].join("file"), stages[2].join("file")).map_err(|error| format!("link: {error}"))?;
        fs::rename(stages[0].join("file"), stages[1].join("file")).map_err(|error| format!("rename: {error}"))?;
        let send = || {
            fs::copy(stages[1].join("file"), target.join(".temporary"))?;
            File::open(target.join(".temporary"))?.sync_all()?;
            fs::rename(target.join(".temporary"), target.join("file"))?;
            fs::write(target.join(".old"), "")?;
            fs::remove_file(target.join(".old"))
        };
        send().map_err(|error| format!("target: {error}"))?;
        Ok(enforced)
    });
    child.has_nothing_left(UPLOAD, &format!("{SENSOR} {UPLOAD}"));
    child.can_neither_serve_nor_execute_nor_return();
    assert!(stages[1].join("file").exists() && stages[2].join("file").exists() && target.join("file").exists());
    assert!(child.opens(&spool.path("keys/upload"), libc::O_RDONLY).is_ok());
    // A key that comes later.
    fs::rename(spool.path("keys/upload"), spool.path("keys/old")).unwrap();
    fs::write(spool.path("keys/upload"), "another").unwrap();
    spool.give("keys/upload", UPLOAD, 0o600);
    assert!(child.opens(&spool.path("keys/upload"), libc::O_RDONLY).is_ok());
    assert_eq!(child.opens(Path::new("/etc/shadow"), libc::O_RDONLY), Err(Errno::EACCES));
    if child.said.contains("Landlock") {
        assert_eq!(child.opens(&spool.path("keys/upload"), libc::O_RDWR), Err(Errno::EACCES));
        assert_eq!(child.opens(&spool.path("keys/other"), CREATE), Err(Errno::EACCES));
        assert_eq!(child.opens(&spool.path("new/open/file"), CREATE), Err(Errno::EACCES));
        assert_eq!(child.opens(&spool.path("new/open"), libc::O_RDONLY), Err(Errno::EACCES));
        assert_eq!(child.opens(Path::new("/usr/bin/env"), libc::O_RDONLY), Err(Errno::EACCES));
        assert_eq!(child.opens(Path::new("/proc/self/status"), libc::O_RDONLY), Err(Errno::EACCES));
        assert_eq!(child.opens(&std::env::temp_dir().join("sie-file"), CREATE), Err(Errno::EACCES));
    } else {
        eprintln!("skipped in part: this kernel's Landlock is too old, or absent");
    }
}

/// Enters the sandbox where the kernel says that it knows no seccomp(2).
fn without_seccomp(number: i32) -> Result<String, String> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
    let calls = [(libc::SYS_seccomp, Vec::new())].into();
    let refuse = SeccompAction::Errno(number.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(calls, SeccompAction::Allow, refuse, architecture).unwrap();
    apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
    Ok(enter(&Role::Views).map_err(|error| error.to_string())?.missing.join(", "))
}

#[test]
fn a_kernel_without_system_call_filters_is_a_warning() {
    if !is_root() {
        return;
    }
    for number in [libc::ENOSYS, libc::EINVAL] {
        let child = Child::start(|| without_seccomp(number));
        assert!(child.said.contains("no seccomp filters"), "{}", child.said);
    }
    let child = Child::start(|| without_seccomp(libc::EPERM).or_else(Ok));
    assert!(child.said.starts_with("cannot confine the process to its system calls"), "{}", child.said);
}

/// Enters the sandbox as the upload child does, and returns what is enforced.
fn begin_upload(role: &Role) -> Result<String, String> {
    bound().map_err(|error| error.to_string())?;
    drop_to(&upload()).map_err(|error| error.to_string())?;
    let enforced = enter(role).map_err(|error| error.to_string())?.enforced.join(", ");
    match fs::canonicalize("/etc/resolv.conf") {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("where the resolver's file is: {error}"))
        }
        _ => Ok(enforced),
    }
}

/// Finds a server, connects to it from a certain address, and logs in with the key.
fn log_in(name_server: SocketAddr, key: &Path) -> Result<(), String> {
    let mut network = Network::asking(&[name_server]);
    let server = SubmitServer::Srv("submit.example".to_string());
    let targets = network.targets(&server, &mut Watch::new()).map_err(|error| error.to_string())?;
    let source = Some(Ipv4Addr::LOCALHOST.into());
    let stream = network.connect(&targets[0], source, &mut Watch::new()).map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    setsockopt(&stream, sockopt::KeepAlive, &true).map_err(|error| error.to_string())?;
    setsockopt(&stream, sockopt::TcpUserTimeout, &30_000).map_err(|error| error.to_string())?;
    let log_in = || {
        let mut session = ssh2::Session::new()?;
        session.set_tcp_stream(stream);
        session.set_timeout(10_000);
        session.handshake()?;
        session.userauth_pubkey_file("root", None, key, None)?;
        let mut channel = session.channel_session()?;
        channel.exec("true")?;
        channel.wait_eof()?;
        channel.wait_close()?;
        channel.exit_status()
    };
    match log_in() {
        Ok(0) => Ok(()),
        Ok(code) => Err(format!("the command ended with {code}")),
        Err(error) => Err(format!("ssh: {error}")),
    }
}

/// A real SSH server on a loopback port, into which these keys log in.
fn sshd(directory: &Path, public: &str) -> Option<(Running, u16)> {
    let (port, directory) = (free_port().port(), directory.to_str().unwrap());
    let host_key = format!("{directory}/host");
    let user = User::current().unwrap();
    make(Path::new(&host_key), KeyType::Ed25519, "", &user).unwrap();
    fs::write(format!("{directory}/authorized"), format!("{public}\n")).unwrap();
    let _ = fs::create_dir("/run/sshd");
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nPidFile none\nUsePAM no\nStrictModes no\n\
         AuthorizedKeysFile {directory}/authorized\nPermitRootLogin yes\nPasswordAuthentication no\n"
    );
    fs::write(format!("{directory}/sshd"), config).unwrap();
    let mut command = Command::new("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(format!("{directory}/sshd"));
    let Ok(child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        eprintln!("skipped: needs sshd");
        return None;
    };
    let server = Running::new(child);
    let end = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < end, "sshd does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some((server, port))
}

#[test]
fn the_upload_child_finds_servers_and_logs_in_to_them_but_serves_nobody() {
    if !is_root() {
        return;
    }
    let (spool, directory) = (Spool::new(), Directory::new());
    let stages = spool.stages();
    let [key, other] = ["keys/made", "keys/other"].map(|name| spool.path(name));
    let made = [(&key, KeyType::Ed25519), (&other, KeyType::Rsa)];
    let public = made.map(|(path, of)| make(path, of, "", &upload()).unwrap().public).join("\n");
    let Some((_sshd, port)) = sshd(&directory.0, &public) else { return };
    let zone = format!("_rsync._tcp.submit SRV 0 0 {port} server.example.\nserver A 127.0.0.1\nserver AAAA ::1\n");
    let Some(name_server) = NameServer::start(&zone) else { return };
    let child = Child::start(|| {
        let keys = [spool.path("keys")];
        let enforced = begin_upload(&Role::Upload { stages: &stages, keys: &keys, target: None })?;
        log_in(name_server.address, &key)?;
        // On threads too.
        let thread = std::thread::Builder::new().name("worker".to_string());
        let thread = thread.spawn({
            let address = name_server.address;
            move || log_in(address, &other)
        });
        thread.map_err(|error| error.to_string())?.join().map_err(|_| "panic")??;
        fs::read("/etc/resolv.conf").map_err(|error| format!("resolv.conf: {error}"))?;
        fs::read("/etc/hosts").map_err(|error| format!("hosts: {error}"))?;
        Ok(enforced)
    });
    child.can_neither_serve_nor_execute_nor_return();
    let socket = |family: i32, of: i32| [Number(family.into()), Number(of.into()), Number(0)];
    for family in [libc::AF_INET, libc::AF_INET6] {
        child.refused(libc::SYS_socket, &socket(family, libc::SOCK_RAW), Errno::EPERM);
        child.may(libc::SYS_socket, &socket(family, libc::SOCK_DGRAM));
    }
    let tcp = Number(child.may(libc::SYS_socket, &socket(libc::AF_INET, libc::SOCK_STREAM)));
    // sockaddr_in of 127.0.0.1 and a port.
    let address = |port: u16| {
        let mut address = [0; 16];
        address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        address[2..4].copy_from_slice(&port.to_be_bytes());
        address[4..8].copy_from_slice(&[127, 0, 0, 1]);
        address
    };
    if child.said.contains("Landlock") && !child.said.contains("TCP") {
        let taken = [tcp, Bytes(&address(free_port().port())), Number(16)];
        child.refused(libc::SYS_bind, &taken, Errno::EACCES);
    }
    child.may(libc::SYS_bind, &[tcp, Bytes(&address(0)), Number(16)]);
    child.refused(libc::SYS_listen, &[tcp, Number(1)], Errno::EPERM);
    let mark = [tcp, Number(libc::SOL_SOCKET.into()), Number(libc::SO_MARK.into()), Bytes(&[1; 4]), Number(4)];
    child.refused(libc::SYS_setsockopt, &mark, Errno::EPERM);
    // Descriptors may be passed to it: the call is made, on one that is not open.
    child.refused(libc::SYS_recvmsg, &[Number(999), Number(0), Number(0)], Errno::EBADF);
}

#[test]
fn the_upload_child_takes_on_what_the_old_package_left() {
    if !is_root() {
        return;
    }
    let spool = Spool::new();
    let stages = ["new", "waiting", "archive"].map(|stage| spool.path(stage).join("ch202"));
    let (old, older) = ("ns.example.net.20110501.1200.1304251200.000000042.nmsg", "of-2010.nmsg");
    for (stage, name) in [("new", old), ("waiting", older)] {
        let name = format!("{stage}/ch202/{name}");
        fs::write(spool.path(&name), "old").unwrap();
        spool.give(&name, SENSOR, 0o644); // nobody else may link it, where hard links are protected
    }
    let child = Child::start(|| {
        bound().map_err(|error| error.to_string())?;
        drop_to(&upload()).map_err(|error| error.to_string())?;
        enter(&Role::Upload { stages: &stages, keys: &[], target: None }).map_err(|error| error.to_string())?;
        let rules = Rules { archive: true, upload: true, ..Rules::default() };
        let scanned = Sorter::new(&spool.path(""), "ch202", rules).scan(Timestamp::default(), || {});
        let _lock = Lock::take(&stages[1]).map_err(|error| error.to_string())?;
        let state = State { process: std::process::id(), ..State::default() };
        Writer::new(&stages[1]).write(state, Duration::ZERO).map_err(|error| format!("state: {error}"))?;
        let mut backlog = Backlog::new(stages[1].clone());
        backlog.list().map_err(|error| format!("list: {error}"))?;
        let batch = backlog.batch(9, Timestamp::default(), Duration::ZERO);
        let removed = batch
            .iter()
            .map(|name| Outgoing::open(&stages[1], name)?.receipt().remove())
            .collect::<Result<Vec<_>, _>>();
        Ok(format!(
            "{:?} {:?} {batch:?} {:?}",
            scanned.notes,
            scanned.moved,
            removed.map_err(|error| error.to_string())
        ))
    });
    assert_eq!(child.said, format!("[] [{old:?}] [{old:?}, {older:?}] Ok([true, true])"));
    assert_eq!(fs::read(stages[2].join(old)).unwrap(), b"old");
    if fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|on| on.trim() == "1") {
        let archived = fs::metadata(stages[2].join(old)).unwrap();
        assert_eq!((archived.mode() & 0o7777, archived.uid()), (0o640, upload().uid.as_raw()));
    }
    Lock::take(&stages[1]).unwrap();
}

/// Leaves the process these capabilities.
fn only(capabilities: &[Capability]) -> Result<(), String> {
    let set: CapsHashSet = capabilities.iter().copied().collect();
    for kind in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::set(None, kind, &set).map_err(|error| error.to_string())?;
    }
    Ok(())
}

const CAPABILITIES: [&str; 4] = ["CapInh", "CapPrm", "CapEff", "CapAmb"];

#[test]
fn a_unit_that_took_the_other_capabilities_away_is_no_failure() {
    if !is_root() {
        return;
    }
    let child = Child::start(|| {
        only(&[Capability::CAP_NET_RAW, Capability::CAP_SETUID, Capability::CAP_SETGID])?;
        bound().map_err(|error| error.to_string())?;
        drop_to(&sensor()).map_err(|error| error.to_string())?;
        Ok(String::new())
    });
    for set in CAPABILITIES {
        assert_eq!((set, status(child.pid, set).as_str()), (set, "0000000000000000"));
    }
    assert_eq!(status(child.pid, "Uid"), [SENSOR; 4].map(|uid| uid.to_string()).join(" "));
}

#[test]
fn a_process_that_is_not_root_keeps_its_user_and_loses_what_it_may() {
    if !is_root() {
        return;
    }
    let (ready, raise) = (|error: nix::Error| error.to_string(), |error: caps::errors::CapsError| error.to_string());
    let child = Child::start(|| {
        // As a unit with User= and AmbientCapabilities=CAP_NET_RAW starts it.
        nix::sys::prctl::set_keepcaps(true).map_err(ready)?;
        let gid = Gid::from_raw(UPLOAD);
        nix::unistd::setgroups(&[gid]).map_err(ready)?;
        nix::unistd::setresgid(gid, gid, gid).map_err(ready)?;
        let uid = Uid::from_raw(UPLOAD);
        nix::unistd::setresuid(uid, uid, uid).map_err(ready)?;
        only(&[Capability::CAP_NET_RAW])?;
        caps::raise(None, CapSet::Ambient, Capability::CAP_NET_RAW).map_err(raise)?;
        bound().map_err(|error| error.to_string())?;
        if !caps::has_cap(None, CapSet::Ambient, Capability::CAP_NET_RAW).map_err(raise)? {
            return Err("the capture child could not open its interfaces".to_string());
        }
        drop_to(&User::current().map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        Ok(String::new())
    });
    for set in CAPABILITIES {
        assert_eq!((set, status(child.pid, set).as_str()), (set, "0000000000000000"));
    }
    assert_eq!(status(child.pid, "NoNewPrivs"), "1");
    assert_eq!(status(child.pid, "Uid"), [UPLOAD; 4].map(|uid| uid.to_string()).join(" "));
}

#[test]
fn the_supervisor_makes_the_spool_as_its_owner_and_is_root_again() {
    if !is_root() {
        return;
    }
    let spool = Spool::new();
    let made = spool.path("waiting/ch202/spool");
    let precious = spool.path("precious");
    fs::create_dir(&precious).unwrap();
    fs::set_permissions(&precious, Permissions::from_mode(0o700)).unwrap();
    spool.give("", 0, 0o755);
    spool.give("waiting", 0, 0o755);
    spool.give("waiting/ch202", 0, 0o755);
    let child = Child::start(|| {
        bound().map_err(|error| error.to_string())?;
        remake_spool(&made, "ch202", &["new", "archive"], &sensor()).map_err(|error| error.to_string())?;
        // Root, but without the right to override modes.
        fs::remove_dir(made.join("new/ch202")).map_or(Ok(()), |()| Err("it could do what its owner can"))?;
        Ok(nix::unistd::geteuid().to_string())
    });
    assert_eq!(child.said, "0");
    // NET_RAW, SETUID, SETGID, SETPCAP, CHOWN, KILL
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!((set, status(child.pid, set).as_str()), (set, "00000000000021e1"));
    }
    for name in ["", "new", "new/ch202", "archive/ch202"] {
        let found = fs::metadata(made.join(name)).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (SENSOR, SENSOR, 0o2770), "{name}");
    }
    // A link that the owner planted must not lend it root's rights.
    fs::remove_dir(made.join("archive/ch202")).unwrap();
    symlink(&precious, made.join("archive/ch202")).unwrap();
    let child = Child::start(|| match make_spool(&made, "ch202", &["archive"], &sensor()) {
        Ok(()) => Err("followed".to_string()),
        Err(error) => Ok(error.to_string()),
    });
    assert!(child.said.contains("chown 3059901:3059901"), "{}", child.said);
    assert_eq!(fs::metadata(&precious).unwrap().mode() & 0o7777, 0o700);
}
