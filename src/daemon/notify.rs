//! What the service manager is told (sd_notify). Without one, which is where NOTIFY_SOCKET is not set, nothing happens;
//! one that does not listen cannot be helped.

use sd_notify::NotifyState::{self, MonotonicUsec, Ready, Reloading, Status, Stopping, Watchdog};
use std::time::Duration;
#[cfg(target_os = "linux")]
use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// The sensor runs, after its start or after a reload.
pub fn ready(status: &str) {
    tell(&[Ready, Status(status)]);
}

/// What it does now, in a line.
pub fn status(status: &str) {
    tell(&[Status(status)]);
}

/// It reads its configuration anew; [`ready`] ends that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now @ MonotonicUsec(_)) => tell(&[Reloading, now]),
        // Without the time systemd 253 and newer would end the service.
        _ => tell(&[Status("reloading")]),
    }
}

/// It is about to end.
pub fn stopping() {
    tell(&[Stopping]);
}

/// It must [`feed`] the watchdog within this time, if there is one; half of it is a good interval.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The capture loop turns, or waits for its interface.
pub fn feed() {
    tell(&[Watchdog]);
}

fn tell(state: &[NotifyState<'_>]) {
    #[cfg(target_os = "linux")]
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Some(name) = socket.as_bytes().strip_prefix(b"@")
    {
        let _ = tell_abstract(name, state);
        return;
    }
    let _ = sd_notify::notify(state);
}

/// To a socket that has no file. The crate takes its name for a path.
#[cfg(target_os = "linux")]
fn tell_abstract(name: &[u8], state: &[NotifyState<'_>]) -> io::Result<()> {
    let lines: String = state.iter().map(|state| format!("{state}\n")).collect();
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    socket.send(lines.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    /// What a service says; run by the test below, which is its service manager.
    #[test]
    #[ignore = "a part of another test"]
    fn service() {
        ready("captures from eth0");
        feed();
        reloading();
        stopping();
        assert_eq!(watchdog(), std::env::var("WATCHDOG_USEC").ok().map(|_| Duration::from_secs(30)));
    }

    fn run_service(environment: &[(&str, &str)]) -> bool {
        let mut service = Command::new(std::env::current_exe().unwrap());
        service.args(["--exact", "daemon::notify::tests::service", "--ignored"]);
        service.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").envs(environment.iter().copied());
        service.output().unwrap().status.success()
    }

    #[test]
    fn the_service_manager_hears_all() {
        let path = std::env::temp_dir().join(format!("sie-notify-{}", std::process::id()));
        all_is_heard(&UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_service_manager_without_a_file_hears_all() {
        let name = format!("sie-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        all_is_heard(&UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
    }

    fn all_is_heard(manager: &UnixDatagram, address: &str) {
        manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(run_service(&[("NOTIFY_SOCKET", address), ("WATCHDOG_USEC", "30000000")]));
        let hear = || {
            let mut buffer = [0; 256];
            let len = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..len].to_vec()).unwrap()
        };
        assert_eq!(hear(), "READY=1\nSTATUS=captures from eth0\n");
        assert_eq!(hear(), "WATCHDOG=1\n");
        assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(hear(), "STOPPING=1\n");
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        assert!(run_service(&[]));
        assert!(run_service(&[("NOTIFY_SOCKET", "/nonexistent/notify")]));
    }
}
