//! What the children of a sensor that runs may still do.

use super::{CAPTURE_USER, Role, UPLOAD_USER, World};
use crate::inject::{
    Argument::{Name, Number},
    inject, status,
};
use nix::{errno::Errno, sys::signal::Signal};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
};

#[track_caller]
pub(super) fn has_nothing_left(pid: i32, (_, uid): (&str, u32), groups: &[u32]) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!((set, status(pid, set).as_str()), (set, "0000000000000000"));
    }
    assert_eq!((status(pid, "NoNewPrivs").as_str(), status(pid, "Seccomp").as_str()), ("1", "2"));
    let four = [uid; 4].map(|uid| uid.to_string()).join(" ");
    assert_eq!((status(pid, "Uid"), status(pid, "Gid")), (four.clone(), four));
    let mut found: Vec<u32> = status(pid, "Groups").split(' ').map(|group| group.parse().unwrap()).collect();
    found.sort();
    assert_eq!(found, groups);
}

#[track_caller]
fn refused(pid: i32, call: i64, arguments: &[crate::inject::Argument]) {
    let result = inject(pid, call, arguments);
    assert!(matches!(result, Err(Errno::EPERM | Errno::EACCES)), "{result:?}");
}

/// The path without the links on the way, which could hide why it is refused.
pub(super) fn open(pid: i32, path: &str, flags: i32) -> Result<i64, Errno> {
    let arguments = [Number(libc::AT_FDCWD.into()), Name(path), Number(flags.into()), Number(0o600)];
    inject(pid, libc::SYS_openat, &arguments)
}

#[track_caller]
pub(super) fn can_neither_open_sockets_nor_execute(pid: i32, families: &[i32]) {
    for &family in families {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_RAW] {
            refused(pid, libc::SYS_socket, &[Number(family.into()), Number(kind.into()), Number(0)]);
        }
    }
    refused(pid, libc::SYS_execve, &[Name("/bin/true"), Number(0), Number(0)]);
    refused(pid, libc::SYS_fork, &[]);
}

#[test]
fn the_children_of_a_running_sensor_have_nothing_left() {
    let Some(world) = World::new() else { return };
    let key = world.path("spool/keys/upload");
    fs::create_dir(world.path("spool/keys")).unwrap();
    fs::set_permissions(world.path("spool/keys"), Permissions::from_mode(0o755)).unwrap();
    fs::write(&key, "a key").unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    chown(&key, Some(UPLOAD_USER.1), Some(UPLOAD_USER.1)).unwrap();
    fs::write(world.path("spool/keys/upload.pub"), "for all").unwrap();
    let mut sensor = world.start();

    let (capture, upload) = (sensor.child(Role::Capture), sensor.child(Role::Upload));
    let views = sensor.child(Role::Views);
    has_nothing_left(views, CAPTURE_USER, &[CAPTURE_USER.1]);
    can_neither_open_sockets_nor_execute(views, &[libc::AF_INET, libc::AF_INET6]);
    can_neither_open_sockets_nor_execute(views, &[libc::AF_UNIX, libc::AF_PACKET, libc::AF_NETLINK]);
    for path in ["/etc/passwd", "/proc/self/status"] {
        refused(views, libc::SYS_openat, &[Number(libc::AT_FDCWD.into()), Name(path), Number(0), Number(0)]);
    }
    // It has neither a packet socket nor a file of the spool.
    let open_files: Vec<String> = fs::read_dir(format!("/proc/{views}/fd"))
        .unwrap()
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_str()?.to_owned()))
        .collect();
    let of_spool = open_files.iter().find(|path| path.starts_with(world.path("spool").to_str().unwrap()));
    assert_eq!(of_spool, None, "{open_files:?}");
    let packet_sockets = fs::read_to_string(format!("/proc/{capture}/net/packet")).unwrap();
    let inodes = packet_sockets.lines().skip(1).filter_map(|line| line.split_whitespace().last());
    let inodes: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
    assert!(!inodes.is_empty() && !open_files.iter().any(|path| inodes.contains(path)), "{open_files:?}");
    has_nothing_left(capture, CAPTURE_USER, &[CAPTURE_USER.1]);
    has_nothing_left(upload, UPLOAD_USER, &[CAPTURE_USER.1, UPLOAD_USER.1]);
    let local = [libc::AF_UNIX, libc::AF_PACKET, libc::AF_NETLINK];
    can_neither_open_sockets_nor_execute(capture, &[libc::AF_INET, libc::AF_INET6]);
    can_neither_open_sockets_nor_execute(capture, &local);
    can_neither_open_sockets_nor_execute(upload, &local);

    let text = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let create = libc::O_WRONLY | libc::O_CREAT;
    assert_eq!(open(capture, &text("spool/keys/upload"), libc::O_RDONLY), Err(Errno::EACCES));
    assert!(open(capture, &text("spool/new/ch202/.x"), create).is_ok());
    let is_landlocked =
        sensor.lines().iter().any(|line| line.contains("capture process is confined") && line.contains("Landlock"));
    if is_landlocked {
        // These the modes would allow.
        for path in ["spool/waiting/ch202/x", "spool/archive/ch202/x", "spool/x"] {
            assert_eq!(open(capture, &text(path), create), Err(Errno::EACCES), "{path}");
        }
        assert_eq!(open(capture, "/tmp/sie-test-x", create), Err(Errno::EACCES));
        assert_eq!(open(capture, &text("spool/keys/upload.pub"), libc::O_RDONLY), Err(Errno::EACCES));
        assert_eq!(open(upload, "/tmp/sie-test-x", create), Err(Errno::EACCES));
    } else {
        eprintln!("skipped in part: this kernel has no Landlock");
    }
    // After all that they work as before.
    let load = world.send(1000);
    super::wait_for("a file", super::SOON, || world.files("waiting").pop_first());
    drop(load);
    assert_eq!((sensor.child(Role::Capture), sensor.child(Role::Upload)), (capture, upload));
    assert_eq!(sensor.child(Role::Views), views);
    assert!(world.status(&["--json"]).stdout.starts_with(b"{"));
    sensor.leaves(Signal::SIGTERM);
}
