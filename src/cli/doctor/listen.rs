//! Listening, in a process of its own: it opens the interfaces, gives up every privilege, then looks at packets.

use super::{
    DoctorArgs,
    finding::Finding,
    part::{self, say},
    traffic::{Link, Traffic},
    tunnels,
    verdict::{self, Host},
};
use crate::{
    capture::live::{Filter, OpenFault, Options, Ring},
    config::{Interface, Settings},
    daemon::{SystemClock, privileges, sandbox, users},
    escape::Escaped,
    sys,
    time::Clock,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    error::Error,
    fs, io,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::Path,
    time::Duration,
};

/// Rings are no larger, whatever the setting: a sensor that runs has its own.
const RING_MAX: u64 = 8 << 20;
/// What the process may hold beside them.
const MEMORY_MAX: u64 = 128 << 20;
/// Frames of a ring before the next one's turn.
const BATCH: usize = 10_000;
/// Between two looks at rings that no packet wakes.
const TICK: u16 = 100;

const SUBJECT: &str = "listening";

/// The process.
pub(super) fn run(args: &DoctorArgs) -> Result<(), Box<dyn Error>> {
    let settings = part::settings()?;
    let user = match users::of_capture(&settings) {
        Ok(user) => user,
        Err(error) => return Ok(say(&Finding::skip(SUBJECT, error.parts().0))?),
    };
    let mut rings = open(&settings)?;
    if rings.is_empty() {
        return Ok(say(&Finding::skip("traffic", "no interface could be listened to"))?);
    }
    let hosts: Vec<Host> = rings.iter().map(|ring| host(ring.interface(), &settings)).collect();
    // A sensor that runs goes first.
    sys::priority::yield_to_others();
    privileges::drop_to(&user)?;
    privileges::limit_data(MEMORY_MAX)?;
    let devices: Vec<RawFd> = rings.iter().map(|ring| ring.as_fd().as_raw_fd()).collect();
    sandbox::enter(&sandbox::Role::Capture { output: None, devices: &devices })?;

    let before: Vec<Option<u64>> = rings.iter().map(|ring| received(ring.interface())).collect();
    let links = hosts.iter().map(|host| Link { name: host.name.clone(), mtu: host.mtu, ..Link::default() }).collect();
    let mut traffic = Traffic::new(&settings, links);
    listen(&mut rings, &mut traffic, Duration::from_secs(args.seconds.into()));
    let arrived =
        before.iter().zip(&hosts).map(|(before, host)| Some(received(&host.name)?.saturating_sub((*before)?)));
    let hosts: Vec<Host> = arrived.zip(hosts.clone()).map(|(arrived, host)| Host { arrived, ..host }).collect();
    Ok(verdict::of(&traffic, &hosts, &settings, args.seconds).iter().try_for_each(say)?)
}

/// Opens what can be opened; says what cannot.
fn open(settings: &Settings) -> io::Result<Vec<Ring>> {
    let buffer_bytes = usize::try_from(settings.capture_buffer.min(RING_MAX)).unwrap_or(usize::MAX);
    let options = Options { buffer_bytes, filter: Filter::of_all_hosts(settings, tunnels::FILTER) };
    let mut rings = Vec::new();
    for interface in &settings.interfaces {
        match Ring::open(interface, &options) {
            Ok(ring) => {
                if let Some(warning) = ring.warning() {
                    say(&Finding::warn(SUBJECT, format!("{}: {warning}", interface.name), ""))?;
                }
                rings.push(ring);
            }
            Err(error) => say(&unopened(interface, &error.fault, &error.to_string()))?,
        }
    }
    Ok(rings)
}

fn unopened(interface: &Interface, fault: &OpenFault, message: &str) -> Finding {
    let name = Escaped(&interface.name);
    match fault {
        // Said with the interfaces.
        OpenFault::NoSuchInterface => Finding::skip(SUBJECT, format!("{name} is missing")),
        OpenFault::Down => Finding::skip(SUBJECT, format!("{name} is down")),
        OpenFault::NoPermission(why) => Finding::fail(
            SUBJECT,
            format!("no permission to capture on {name} ({})", Escaped(why)),
            "root may, and who has CAP_NET_RAW: sudo sie-dns-sensor doctor",
        ),
        _ => {
            let (what, cure) = message.rsplit_once("; ").unwrap_or((message, ""));
            Finding::fail(SUBJECT, what, cure)
        }
    }
}

/// What the system tells of an interface; afterwards it may be asked no more.
fn host(name: &str, settings: &Settings) -> Host {
    let is_promiscuous = settings.interfaces.iter().any(|interface| interface.name == name && interface.promiscuous);
    let mtu = fs::read_to_string(Path::new("/sys/class/net").join(name).join("mtu"));
    let mtu = mtu.ok().and_then(|text| text.trim().parse().ok());
    #[cfg(target_os = "linux")]
    let offload = crate::sys::linux::receive_offload(name).ok();
    #[cfg(not(target_os = "linux"))]
    let offload = None;
    Host { name: name.to_owned(), is_promiscuous, mtu, offload, arrived: None }
}

/// Packets that an interface has received since it is there.
fn received(name: &str) -> Option<u64> {
    let path = Path::new("/sys/class/net").join(name).join("statistics/rx_packets");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn listen(rings: &mut [Ring], traffic: &mut Traffic, time: Duration) {
    let clock = SystemClock::new();
    while clock.monotonic() < time && wait(rings) {
        for (index, ring) in rings.iter_mut().enumerate() {
            let read = ring.read(BATCH, |frame| traffic.frame(index, frame));
            if let (Err(error), Some(link)) = (read, traffic.links.get_mut(index)) {
                link.error.get_or_insert_with(|| error.to_string());
            }
        }
    }
    for (ring, link) in rings.iter_mut().zip(&mut traffic.links) {
        link.kernel = ring.statistics();
    }
}

/// Until there is something to read, or a while. False when there is nobody any more who would be told.
fn wait(rings: &[Ring]) -> bool {
    let stdout = io::stdout();
    let mut waited = vec![PollFd::new(stdout.as_fd(), PollFlags::empty())];
    waited.extend(rings.iter().map(|ring| PollFd::new(ring.as_fd(), PollFlags::POLLIN)));
    // An interruption is an early look.
    let _ = poll(&mut waited, PollTimeout::from(TICK));
    let bad = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    let mut is_bad = waited.iter().map(|fd| fd.revents().is_some_and(|events| events.intersects(bad)));
    let is_heard = !is_bad.next().unwrap_or_default();
    if is_bad.any(|is_bad| is_bad) {
        // A ring that failed would be there at once, again and again.
        std::thread::sleep(Duration::from_millis(TICK.into()));
    }
    is_heard
}
